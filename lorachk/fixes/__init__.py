"""Fixers: what can be mended in a dataset without asking a person, in the order in which it is tried."""

from __future__ import annotations

from lorachk.fixes import dialect, drop, pictures, text, turns
from lorachk.fixes.fixer import Fixer

SAFE = (
    Fixer(("D201",), True, text.finite),
    Fixer(("D103", "D104"), True, dialect.list_key),
    Fixer(("D104",), True, dialect.turn_keys),
    Fixer(("D105",), True, dialect.role_names),
    Fixer(("D107",), True, pictures.image_field),
    Fixer(("I101",), True, pictures.near_path),
    Fixer(("D218",), True, pictures.key_order),
    Fixer(("D108",), True, text.usual_place),
)


def unsafe() -> tuple[Fixer, ...]:
    """Fixers that lose something or train something else; a new set for every file, as one of them remembers."""
    return (
        Fixer(("D105",), False, turns.leading_system),
        Fixer(("D105",), False, turns.swapped),
        Fixer(("D105", "D205"), False, turns.merged),
        Fixer(("D109",), False, text.stray_markers),
        Fixer(("D114", "D220"), False, text.special_tokens),
        Fixer(("D108",), False, text.missing_place),
        Fixer(("D106", "D202"), False, drop.not_trained),
        Fixer(("D208",), False, drop.Twice()),
    )
