"""Moved to `verdicts.minicpmv`; this name stands until `rows.py` no longer imports it."""

from lorachk.facts.records.verdicts.minicpmv import Length as Length
from lorachk.facts.records.verdicts.minicpmv import Picture as Picture
from lorachk.facts.records.verdicts.minicpmv import Verdict as Verdict
from lorachk.facts.records.verdicts.minicpmv import verdict as verdict
