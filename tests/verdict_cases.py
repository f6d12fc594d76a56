"""Helpers of the verdict tests: records in short, and one judgement through the loader as the collector makes it."""

from __future__ import annotations

from typing import Any

from lorachk.facts.records.dialect import shape
from lorachk.facts.records.verdicts import Settings, Verdict, loader

Case = tuple[Any, "str | None", "str | None"]  # record, kind, part of the reason


def judged(trainer: str, record: Any, settings: Settings | None = None) -> Verdict:
    """What the trainer would do with a record."""
    settings = settings or Settings()
    found = loader(trainer)
    assert found is not None
    return found.judge(record, shape(record, settings.mapping), settings)


def agrees(trainer: str, case: Case, settings: Settings | None = None) -> None:
    """The verdict has the kind, and its reason the words, of the case."""
    record, kind, reason = case
    found = judged(trainer, record, settings)
    assert found.kind == kind, found
    assert (found.reason is None) if reason is None else (reason in (found.reason or "")), found


def spoken(*texts: Any, **more: Any) -> dict[str, Any]:
    """A record in LLaVA's form: human and gpt in turn."""
    return {"conversations": [{"from": ("human", "gpt")[i % 2], "value": t} for i, t in enumerate(texts)], **more}


def said(*texts: Any, **more: Any) -> dict[str, Any]:
    """A record of messages: user and assistant in turn."""
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)], **more}


def turned(*pairs: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    """A record in LLaVA's form with speakers of one's own."""
    return {"conversations": [{"from": role, "value": text} for role, text in pairs], **more}


def messages(*pairs: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    """A record of messages with roles of one's own."""
    return {"messages": [{"role": role, "content": text} for role, text in pairs], **more}
