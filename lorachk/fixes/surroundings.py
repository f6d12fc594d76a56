"""Who reads a dataset, and where its images are: what fixers must know, from the run and the first records."""

from __future__ import annotations

from itertools import islice

from lorachk.facts.dataset import guessed_trainer, image_folders, image_root, loader_settings
from lorachk.facts.records.datafile import DataFile
from lorachk.facts.records.reader import Reader
from lorachk.facts.records.verdicts import loader
from lorachk.fixes.fixer import Around
from lorachk.run import Run

_HEAD = 512  # records


def around(run: Run, file: DataFile) -> Around:
    """What is known of the file's reader."""
    trainer = run.trainer or guessed_trainer(islice(Reader(file), _HEAD), file, run.family)
    root = image_root(run, file)
    folders = [root] if root else image_folders(run, file)
    settings = loader_settings(run, file)
    return Around(trainer, run.family, file.mapping, loader(trainer), settings, tuple(dict.fromkeys(folders)))
