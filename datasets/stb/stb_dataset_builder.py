"""STB as a TFDS builder: `python -m pmd_jax.prepare stb --manual_dir=FOLDER`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow_datasets as tfds

from pmd_jax.data.prepared import prepared_features
from pmd_jax.prepare.archive import attempt_all, option
from pmd_jax.prepare.finding import broken_zips
from pmd_jax.prepare.raw_builder import FRAMES_PER_TASK, RawArchiveBuilder
from pmd_jax.runtime.errors import ArchiveError

from . import cameras, frames
from .frames import Settings, Task
from .layout import FRAMES, SEQUENCES, find_labels, find_sequence, label_name, read_labels

_INSTRUCTIONS = """\
STB has to be fetched by hand: follow the links on https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset, and put
its twelve sequence zips (B1Counting.zip to B6Random.zip) and labels.zip there, or the folders that they unpack to.
Without STB, `python -m pmd_jax.main --config=launch/demo.py` runs on rendered hands."""


@dataclasses.dataclass
class StbConfig(tfds.core.BuilderConfig):
    """A configuration: see `frames.Settings` for what can be chosen."""

    settings: Settings = dataclasses.field(default_factory=Settings)


class Builder(RawArchiveBuilder[Task]):
    """The Stereo Hand Pose Tracking Benchmark: 12 sequences of 1,500 frames of one left hand each; test is B1."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS's own form)
        StbConfig(name="default", description="64 px crops of colour and depth (SK), in the colour camera"),
        StbConfig(name="large", description="the same at 128 px", settings=Settings(size=128)),
        StbConfig(
            name="mask_box",
            description="cropped around the depth segment nearest the camera, cut at the wrist, not the joints",
            settings=Settings(box="mask"),
        ),
        StbConfig(name="bb", description="crops of the stereo pair, no depth", settings=Settings(camera="BB")),
        StbConfig(name="full", description="the original pictures of SK", settings=Settings(full=True)),
    ]
    DEFAULT_CONFIG_NAME = "default"
    PUBLISHED_FRAMES = {split: FRAMES * len(sequences) for split, sequences in SEQUENCES.items()}  # noqa: RUF012
    read_task = staticmethod(frames.read_task)

    @property
    def settings(self) -> Settings:
        """What to make of a frame."""
        return cast(StbConfig, self.builder_config).settings

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=_full_features() if self.settings.full else prepared_features(self.settings.size),
            description=self.__doc__,
            homepage="https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset",
        )

    def find_tasks(self, folder: Path) -> Mapping[str, Sequence[Task]]:
        every = [(split, sequence) for split, sequences in SEQUENCES.items() for sequence in sequences]
        try:
            runs = attempt_all(partial(self._sequence_tasks, folder, *one) for one in every)
        except ArchiveError as error:
            others = [fault for fault in broken_zips(folder) if fault not in str(error)]
            raise ArchiveError("\n".join([str(error), *others, _INSTRUCTIONS])) from None
        tasks: dict[str, list[Task]] = {}
        for (split, _), run in zip(every, runs, strict=True):
            if run:
                tasks.setdefault(split, []).extend(run)
        if not tasks:
            raise ArchiveError(f"No sequence of STB with its labels in {folder}.\n{_INSTRUCTIONS}")
        return tasks

    def _sequence_tasks(self, folder: Path, split: str, sequence: str) -> list[Task]:
        """One sequence's work; nothing where it is not there and need not be."""
        camera = self.settings.camera
        pictures, labels = find_sequence(folder, sequence, camera), find_labels(folder, sequence, camera)
        if pictures is None or labels is None:
            if self.allow_partial:
                return []
            what = f"pictures of {sequence}" if pictures is None else label_name(sequence, camera)
            raise ArchiveError(f"No {what} in {folder}; {option('allow_partial')} does without.")
        joints_m = read_labels(labels, sequence, camera, self.allow_partial)
        return [
            Task(pictures, split, sequence, first, joints_m[first : first + FRAMES_PER_TASK], self.settings)
            for first in range(0, len(joints_m), FRAMES_PER_TASK)
        ]


def _full_features() -> tfds.features.FeaturesDict:
    """The original files, undecoded, and the labels in our joint order, moved to the colour camera."""

    def picture(doc: str) -> tfds.features.Image:
        return tfds.features.Image(shape=(cameras.HEIGHT_PX, cameras.WIDTH_PX, 3), encoding_format="png", doc=doc)

    return tfds.features.FeaturesDict(
        {
            "rgb": picture("SK_color_*.png as it is"),
            "depth": picture("SK_depth_*.png as it is, in the depth camera: red + 256·green millimetres"),
            "xyz": tfds.features.Tensor(shape=(21, 3), dtype=np.float32, doc="metres, colour camera"),
            "K": tfds.features.Tensor(shape=(3, 3), dtype=np.float32, doc="intrinsics of the colour camera"),
            "key": tfds.features.Text(doc="data set, split, sequence, frame"),
        }
    )
