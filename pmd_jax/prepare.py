"""Raw archive → prepared split: `python -m pmd_jax.prepare rendered_hands`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from pmd_jax.errors import InputError

EXIT_BAD_INPUT = 2  # as in all commands
EXIT_INTERRUPTED = 130  # by Ctrl-C, as shells say it
DATASETS = Path(__file__).resolve().parent.parent / "datasets"


def register_datasets() -> None:
    """Makes `datasets/` importable as `pmd_datasets`.

    A package called `datasets` would hide Hugging Face's, so the folder has no `__init__.py` and is mounted under a
    name of our own. Worker processes call this first (`initializer=`), for they unpickle functions by module name.
    """
    if "pmd_datasets" not in sys.modules:
        package = types.ModuleType("pmd_datasets")
        package.__path__ = [str(DATASETS)]
        package.__file__ = str(DATASETS / "__init__.py")  # TFDS looks for a builder's folder by it
        sys.modules["pmd_datasets"] = package


def builder_class(name: str):
    """The TFDS builder class of `datasets/<name>`.

    Raises:
        InputError: there is no such data set.
    """
    register_datasets()
    if not DATASETS.is_dir():
        raise InputError(f"There are no builders in {DATASETS}: install the checkout with `pip install -e .`.")
    if not (DATASETS / name / f"{name}_dataset_builder.py").is_file():
        known = ", ".join(sorted(p.parent.name for p in DATASETS.glob("*/*_dataset_builder.py")))
        raise InputError(f"Unknown data set {name!r}. Known: {known}.")
    return importlib.import_module(f"pmd_datasets.{name}.{name}_dataset_builder").Builder


def prepare(
    name: str,
    *,
    data_dir: str | Path = "data/prepared",
    manual_dir: str | Path = "data/raw",
    dataset_config: str = "default",
    allow_partial: bool = False,
    allow_bad: int = 0,
    download: bool = False,
) -> Path:
    """Builds the data set unless it is there already; returns the folder TFDS keeps it in.

    Args:
        data_dir: where prepared data sets live, in TFDS's layout.
        manual_dir: the raw archive's folder, or one that has it as `<manual_dir>/<name>`.
        allow_partial: accept an archive with fewer frames or sequences than the published one.
        allow_bad: leave out up to this many frames that cannot be used.
        download: fetch the archive first, where that is possible (RHD).

    Raises:
        InputError: unknown data set or configuration, or an option that it does not have.
        ArchiveError: the archive is missing, damaged, or not the published one.
        OSError: the disk is full.
        SelfCheckError: what was read makes no sense.
    """
    import tensorflow_datasets as tfds  # slow to import: only when something is prepared

    from pmd_jax.data import raw_builder

    builder_type = builder_class(name)
    configs = [config.name for config in builder_type.BUILDER_CONFIGS]
    if dataset_config not in configs:
        raise InputError(f"{name} has no configuration {dataset_config!r}. It has: {', '.join(configs)}.")
    reads_archive = issubclass(builder_type, raw_builder.RawArchiveBuilder)
    if not reads_archive and (allow_partial or allow_bad or download):
        raise InputError(f"{name} is drawn, not read from an archive: allow_partial, allow_bad, download mean nothing.")
    options = {"allow_partial": allow_partial, "allow_bad": allow_bad} if reads_archive else {}
    own_folder = Path(manual_dir) / name
    raw = own_folder if own_folder.is_dir() or not Path(manual_dir).is_dir() else Path(manual_dir)

    builder = builder_type(data_dir=str(data_dir), config=dataset_config, file_format="array_record", **options)
    prepared = Path(builder.data_dir)
    if reads_archive and prepared.is_dir():
        raw_builder.check_reuse(prepared, builder_type.PUBLISHED_FRAMES, allow_partial, allow_bad)
        return prepared
    if download:
        builder.fetch(raw)
    try:
        builder.download_and_prepare(
            file_format="array_record", download_config=tfds.download.DownloadConfig(manual_dir=str(raw))
        )
    except RuntimeError as error:  # what ArrayRecord raises for everything
        if "No space left" not in str(error):
            raise
        raise OSError(f"The disk of {data_dir} is full. Nothing of {name} was kept; make room and try again.") from None
    return prepared


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pmd_jax.prepare", description="Raw archive → prepared split.")
    parser.add_argument("name", help="rendered_hands, rhd or stb")
    parser.add_argument("--data_dir", default="data/prepared", help="where prepared data sets live (%(default)s)")
    parser.add_argument("--manual_dir", default="data/raw", help="folder of the raw archive (%(default)s)")
    parser.add_argument("--dataset_config", default="default", help="the builder's configuration (%(default)s)")
    parser.add_argument("--allow_partial", action="store_true", help="accept an archive that is not complete")
    parser.add_argument("--allow_bad", type=int, default=0, metavar="N", help="leave out up to N unusable frames")
    parser.add_argument("--download", action="store_true", help="fetch the archive first (RHD only)")
    try:
        folder = prepare(**vars(parser.parse_args(arguments)))
    except (InputError, OSError) as error:  # what a user can put right; anything else is our fault and shows its trace
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; nothing half-prepared was kept.", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(describe(folder))
    return 0


def describe(folder: Path) -> str:
    """What lies in a prepared folder, for the terminal."""
    from pmd_jax.data import raw_builder

    summary = folder / raw_builder.SUMMARY_FILE
    if not summary.is_file():
        return f"Prepared in {folder}."
    text = raw_builder.summary_text(json.loads(summary.read_text()))
    sheet = folder / raw_builder.SHEET_FILE
    look = f" Look at {sheet}." if sheet.is_file() else ""
    return f"{text}\nPrepared in {folder}; delete it to prepare it anew.{look}"


if __name__ == "__main__":
    sys.exit(main())
