"""Errors that speak to the person who must act."""

from __future__ import annotations


class UsageError(Exception):
    """lorachk cannot run with what it was given; the command ends with exit code 2 and this text.

    `where` is a place the user can open (`path:line:column` or an option), `hint` says what to do next.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text
