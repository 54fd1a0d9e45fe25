"""Raw archive → prepared split: `python -m pmd_jax.prepare rendered_hands`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pmd_jax.config.backbones import CROP_SHAPE
from pmd_jax.data import column_files
from pmd_jax.data.records import PREPARED_KEYS
from pmd_jax.prepare.registry import builder_class
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import given_path, locked

INFO_FILE = "dataset_info.json"  # TFDS's description of a prepared data set


def prepare(
    name: str,
    *,
    data_dir: str | Path = "data/prepared",
    manual_dir: str | Path = "data/raw",
    dataset_config: str = "default",
    allow_partial: bool = False,
    allow_bad: int = 0,
    download: bool = False,
    crop_px: int | None = None,
) -> Path:
    """Builds the data set unless it is there already; returns the folder TFDS keeps it in.

    Args:
        data_dir: where prepared data sets live, in TFDS's layout.
        manual_dir: the raw archive's folder, or one that has it as `<manual_dir>/<name>`.
        allow_partial: accept an archive with fewer frames or sequences than the published one.
        allow_bad: leave out up to this many frames that cannot be used.
        download: fetch the archive first, where that is possible (RHD).
        crop_px: refuse a configuration with pictures of another size, before anything is read; None: any will do.

    Raises:
        InputError: unknown data set or configuration, an option that it does not have, prepared data that are broken,
            no room on the disk, or a worker that was killed.
        ArchiveError: the archive is missing, damaged, or not the published one.
        OSError: a disk or its permissions refuse.
        SelfCheckError: what was read makes no sense.
    """
    from pmd_jax.prepare import raw_builder  # brings TFDS, slow to import: only when something is prepared

    builder_type = builder_class(name)
    configs = [config.name for config in builder_type.BUILDER_CONFIGS]
    if dataset_config not in configs:
        raise InputError(f"{name} has no configuration {dataset_config!r}. It has: {', '.join(configs)}.")
    reads_archive = issubclass(builder_type, raw_builder.RawArchiveBuilder)
    if not reads_archive and (allow_partial or allow_bad or download):
        raise InputError(f"{name} is drawn, not read from an archive: allow_partial, allow_bad, download mean nothing.")
    options = {"allow_partial": allow_partial, "allow_bad": allow_bad} if reads_archive else {}
    if crop_px is not None:
        _check_size(builder_type, dataset_config, crop_px)
    data_dir, manual_dir = given_path(data_dir), given_path(manual_dir)
    builder = _builder(builder_type, data_dir, dataset_config, **options)
    prepared = Path(builder.data_dir)
    if not prepared.is_dir():
        lock = data_dir / f".{name}_{dataset_config}.lock"
        with locked(lock, f"the preparation of {name}/{dataset_config}") as alone:
            builder = _builder(builder_type, data_dir, dataset_config, **options)
            if not prepared.is_dir():  # still, now that nobody else prepares it
                if alone:
                    _remove_left(prepared)
                raw = manual_dir / name if (manual_dir / name).is_dir() or not manual_dir.is_dir() else manual_dir
                if download:
                    builder.fetch(raw)
                _build(builder, raw, data_dir)
                return _with_column_files(prepared, builder)
    if reads_archive:
        raw_builder.check_reuse(prepared, builder_type.PUBLISHED_FRAMES, allow_partial, allow_bad)
    if not (prepared / INFO_FILE).is_file():
        raise InputError(f"{prepared} has no {INFO_FILE}, so it is not whole: delete it and prepare it again.")
    return _with_column_files(prepared, builder)


def _with_column_files(prepared: Path, builder) -> Path:
    """Crops that networks take get column files, those that an earlier version prepared too; whole frames get none.

    Raises as `column_files.ensure`.
    """
    features = builder.info.features
    if set(PREPARED_KEYS) <= set(features) and features["rgb"].shape == CROP_SHAPE:
        for split in sorted(builder.info.splits):
            column_files.ensure(prepared, split)
    return prepared


def _check_size(builder_type, dataset_config: str, crop_px: int) -> None:
    """By the configuration's name alone: nothing is read or written."""

    def fits(name: str) -> bool:
        features = builder_type(data_dir=os.devnull, config=name).info.features
        return features["rgb"].shape == (crop_px, crop_px, 3)

    if not fits(dataset_config):
        others = [config.name for config in builder_type.BUILDER_CONFIGS if fits(config.name)]
        raise InputError(
            f"config.data.dataset_config = {dataset_config!r}: its pictures are not crops of {crop_px} px, which the "
            f"network takes; choose from {', '.join(others) or 'another data set'}."
        )


def _builder(builder_type, data_dir: Path, dataset_config: str, **options):
    """The TFDS builder, which reads the description of what is prepared already."""
    try:
        return builder_type(data_dir=str(data_dir), config=dataset_config, file_format="array_record", **options)
    except (InputError, OSError):
        raise
    except Exception as error:  # protobuf's, JSON's and TFDS's own
        described = sorted((data_dir / builder_type.name / dataset_config).glob(f"*/{INFO_FILE}"))
        if not described:
            raise
        raise InputError(
            f"{described[-1]} is broken ({error}): delete the folder that it lies in and prepare it again."
        ) from error


def _remove_left(prepared: Path) -> None:
    """Removes what killed preparations of the same data left. Under their lock, since nothing in it tells that it is
    dead: TFDS gives each preparation's folder a new name."""
    left = sorted(prepared.parent.glob("incomplete.*"))  # of this version and others, which take the same lock
    if left:
        names = ", ".join(folder.name for folder in left)
        print(f"Removing what a killed preparation left in {prepared.parent}: {names}.", file=sys.stderr, flush=True)
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)


def _build(builder, raw: Path, data_dir: Path) -> None:
    import tensorflow_datasets as tfds

    try:
        builder.download_and_prepare(
            file_format="array_record", download_config=tfds.download.DownloadConfig(manual_dir=str(raw))
        )
    except RuntimeError as error:  # what ArrayRecord raises for everything
        if "No space left" not in str(error):
            raise
        raise InputError(f"The disk of {data_dir} is full. Nothing was kept; make room and try again.") from None
