"""Raw archive → prepared split: `python -m pmd_jax.prepare rendered_hands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pmd_jax.prepare.preparation import prepare
from pmd_jax.runtime.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, sentence_of


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pmd_jax.prepare", description="Raw archive → prepared split.")
    parser.add_argument("name", help="rendered_hands, rhd, stb or rgbd_folder")
    parser.add_argument("--data_dir", default="data/prepared", help="where prepared data sets live (%(default)s)")
    parser.add_argument("--manual_dir", default="data/raw", help="folder of the raw archive (%(default)s)")
    parser.add_argument("--dataset_config", default="default", help="the builder's configuration (%(default)s)")
    parser.add_argument("--allow_partial", action="store_true", help="accept an archive that is not complete")
    parser.add_argument("--allow_bad", type=int, default=0, metavar="N", help="leave out up to N unusable frames")
    parser.add_argument("--download", action="store_true", help="fetch the archive first (RHD only)")
    try:
        folder = prepare(**vars(parser.parse_args(arguments)))
    except Exception as error:
        if (sentence := sentence_of(error)) is None:
            raise
        print(f"{parser.prog}: {sentence}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; nothing half-prepared was kept.", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(describe(folder))
    return 0


def describe(folder: Path) -> str:
    """What lies in a prepared folder, for the terminal."""
    from pmd_jax.prepare import raw_builder

    summary = folder / raw_builder.SUMMARY_FILE
    if not summary.is_file():
        return f"Prepared in {folder}."
    text = raw_builder.summary_text(raw_builder.read_summary(folder))
    sheet = folder / raw_builder.SHEET_FILE
    look = f" Look at {sheet}." if sheet.is_file() else ""
    return f"{text}\nPrepared in {folder}; delete it to prepare it anew.{look}"
