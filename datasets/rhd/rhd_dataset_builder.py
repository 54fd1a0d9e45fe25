"""RHD as a TFDS builder: `python -m pmd_jax.prepare rhd --manual_dir=FOLDER`."""

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
from pmd_jax.prepare.finding import find_archive
from pmd_jax.prepare.raw_builder import FRAMES_PER_TASK, RawArchiveBuilder
from pmd_jax.runtime.errors import ArchiveError

from . import frames
from .annotations import FOLDERS, FRAMES, annotation_name, read_annotations
from .download import ARCHIVE_BYTES, ARCHIVE_NAME, URL, download
from .frames import SIZE_PX, Settings, Task

_INSTRUCTIONS = f"""\
RHD is for research only and has to be fetched by you: {URL}
({ARCHIVE_BYTES:,} bytes). Put {ARCHIVE_NAME} there, or the folder RHD_published_v2 that it unpacks to, or let
`python -m pmd_jax.prepare rhd --download` fetch it. Without RHD, `python -m pmd_jax.main --config=launch/demo.py`
runs on rendered hands."""


@dataclasses.dataclass
class RhdConfig(tfds.core.BuilderConfig):
    """A configuration: see `frames.Settings` for what can be chosen."""

    settings: Settings = dataclasses.field(default_factory=Settings)


class Builder(RawArchiveBuilder[Task]):
    """The Rendered Hand Pose Dataset: 41,258 + 2,728 pictures of 320 × 320 with depth, masks and both hands' joints."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS's own form)
        RhdConfig(name="default", description="64 px crops of the hand with more mask pixels"),
        RhdConfig(name="large", description="the same at 128 px", settings=Settings(size=128)),
        RhdConfig(name="both_hands", description="a crop of each hand", settings=Settings(hands="both")),
        RhdConfig(
            name="most_visible",
            description="the hand with more visible joints, as some loaders choose",
            settings=Settings(choose_by="visible"),
        ),
        RhdConfig(name="mask_box", description="cropped around the mask", settings=Settings(box="mask")),
        RhdConfig(name="full", description="the original pictures and all 42 joints", settings=Settings(full=True)),
    ]
    DEFAULT_CONFIG_NAME = "default"
    PUBLISHED_FRAMES = FRAMES
    read_task = staticmethod(frames.read_task)

    @property
    def settings(self) -> Settings:
        """What to make of a frame."""
        return cast(RhdConfig, self.builder_config).settings

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=_full_features() if self.settings.full else prepared_features(self.settings.size),
            description=self.__doc__,
            homepage="https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html",
        )

    def fetch(self, folder: Path) -> None:
        download(folder)

    def find_tasks(self, folder: Path) -> Mapping[str, Sequence[Task]]:
        try:
            runs = attempt_all(partial(self._split_tasks, folder, split) for split in FOLDERS)
        except ArchiveError as error:
            raise ArchiveError(f"{error}\n{_INSTRUCTIONS}") from None
        tasks = {split: run for split, run in zip(FOLDERS, runs, strict=True) if run}
        if not tasks:
            raise ArchiveError(f"No RHD archive in {folder}.\n{_INSTRUCTIONS}")
        return tasks

    def _split_tasks(self, folder: Path, split: str) -> list[Task]:
        """One split's work; nothing where it is not there and need not be."""
        archive = find_archive(folder, annotation_name(split))
        if archive is None:
            if self.allow_partial:
                return []
            raise ArchiveError(f"No {annotation_name(split)} in {folder}; {option('allow_partial')} does without.")
        entries = sorted(read_annotations(archive, split, self.allow_partial).items())
        runs = (tuple(entries[i : i + FRAMES_PER_TASK]) for i in range(0, len(entries), FRAMES_PER_TASK))
        return [Task(archive, split, run, self.settings) for run in runs]


def _full_features() -> tfds.features.FeaturesDict:
    """The original files, undecoded, and the labels in the archive's own order: the left hand, then the right."""

    def picture(channels: int, doc: str) -> tfds.features.Image:
        return tfds.features.Image(shape=(SIZE_PX, SIZE_PX, channels), encoding_format="png", doc=doc)

    return tfds.features.FeaturesDict(
        {
            "rgb": picture(3, "color/*.png as it is"),
            "depth": picture(3, "depth/*.png as it is: (256·red + green)/65535·5 metres"),
            "mask": picture(1, "mask/*.png as it is: 0 background, 1 person, 2–17 left hand, 18–33 right hand"),
            "uv": tfds.features.Tensor(shape=(42, 2), dtype=np.float32, doc="pixels, as annotated"),
            "visible": tfds.features.Tensor(shape=(42,), dtype=np.bool_, doc="as annotated"),
            "xyz": tfds.features.Tensor(shape=(42, 3), dtype=np.float32, doc="metres, camera frame"),
            "K": tfds.features.Tensor(shape=(3, 3), dtype=np.float32, doc="intrinsics of this picture"),
            "key": tfds.features.Text(doc="data set, split, frame"),
        }
    )
