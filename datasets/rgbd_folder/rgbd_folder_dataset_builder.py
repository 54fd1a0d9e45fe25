"""Recordings of one's own as a TFDS builder: `python -m pmd_jax.prepare rgbd_folder --dataset_config=mask_box`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import tensorflow_datasets as tfds

from pmd_jax.data.prepared import prepared_features
from pmd_jax.prepare.archive import attempt_all
from pmd_jax.prepare.raw_builder import FRAMES_PER_TASK, RawArchiveBuilder
from pmd_jax.runtime.errors import ArchiveError

from . import frames
from .frames import SIZE_PX, Task
from .layout import find_recordings

_INSTRUCTIONS = """\
Put recordings of your depth camera there, a folder each: docs/your_camera.md says which files they have, and
`python -m pmd_jax.record data/raw/rgbd_folder/first --hand=right` writes one."""


class Builder(RawArchiveBuilder[Task]):
    """RGB-D recordings of one's own, with joints or without; frames in which no hand is found are left out."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS's own form)
        tfds.core.BuilderConfig(
            name="mask_box", description="64 px crops around the depth segment nearest the camera, cut at the wrist"
        ),
    ]
    PUBLISHED_FRAMES: Mapping[str, int] = {}  # nobody says how many there must be
    read_task = staticmethod(frames.read_task)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=prepared_features(SIZE_PX), description=self.__doc__)

    def find_tasks(self, folder: Path) -> Mapping[str, Sequence[Task]]:
        recordings = find_recordings(folder)
        attempt_all(partial(frames.check_unit, recording) for recording in recordings)
        tasks: dict[str, list[Task]] = {}
        for recording in recordings:
            names = sorted(recording.colours)
            tasks.setdefault(recording.description.split, []).extend(
                Task(recording.part(names[first : first + FRAMES_PER_TASK]))
                for first in range(0, len(names), FRAMES_PER_TASK)
            )
        if "train" not in tasks:
            raise ArchiveError(f'{folder}: every recording has "split": "test"; leave some for training.')
        return tasks
