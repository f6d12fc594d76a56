"""Who reads a dataset, and where its images are: what fixers must know, from the run and the first records."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from lorachk.facts.dataset import guessed_trainer, loader_settings
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.reader import Reader
from lorachk.facts.records.verdicts import loader
from lorachk.fixes.fixer import Around
from lorachk.run import Run

_HEAD = 512  # records


def around(run: Run, file: DataFile) -> Around:
    """What is known of the file's reader."""
    trainer = run.trainer or guessed_trainer(islice(Reader(file), _HEAD), file, run.family)
    root = run.image_root or file.image_root
    folders = [root] if root else [str(Path(file.local).parent), "."]
    if run.launch and not root:
        folders.insert(0, str(Path(run.launch).parent))
    settings = loader_settings(run, file)
    return Around(trainer, run.family, file.mapping, loader(trainer), settings, tuple(dict.fromkeys(folders)))
