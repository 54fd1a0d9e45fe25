"""`python -m pmd_jax.export --checkpoint=runs/demo/export --formats=orbax,stablehlo,onnx --out=hand`.

Writes a network in formats that other programs can run, reads each again in a new process, compares its joints with the
network's, and leaves a summary (export.json) and a model card (MODEL_CARD.md) beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pmd_jax
from pmd_jax.runtime import cli, digest
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import given_path, read_text, replacing_folder, write_json, write_text

if TYPE_CHECKING:
    from pmd_jax.export.formats import Format
    from pmd_jax.models.saved_model import SavedModel

NAMES = ("orbax", "stablehlo", "onnx")
SUMMARY, CARD = "export.json", "MODEL_CARD.md"


class ExportError(InputError):
    """An export that cannot be made or placed; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pmd_jax.export", description="A network for other programs.")
    source_help = "a finished run's export (checkpoints/demo)"
    parser.add_argument("--checkpoint", type=given_path, metavar="FOLDER", help=source_help)
    parser.add_argument("--formats", default=",".join(NAMES), help="of %(default)s")
    parser.add_argument("--out", required=True, type=given_path, metavar="FOLDER", help="where to write them")
    given = parser.parse_args(arguments)
    cli.set_up_jax()
    return cli.exit_code(lambda: print(table(export(given.checkpoint, given.formats.split(","), given.out))))


def export(checkpoint: str | Path | None, names: Sequence[str], out: Path) -> dict[str, Any]:
    """Writes a network to `out` in the named formats, checks them, and returns the content of export.json.

    Files of the same name are replaced, others left alone; if anything fails, nothing is changed.

    Args:
        checkpoint: an export's folder, or None for the demo network.

    Raises:
        ExportError: an unknown format, or `out` holds another network or cannot be written.
        InputError: see `predictor.read_student`; or the extra "export" is not installed.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        raise ExportError(f"--formats: {', '.join(map(repr, unknown))} unknown; choose from {','.join(NAMES)}.")
    from pmd_jax.export import model_card
    from pmd_jax.export.formats import FORMATS
    from pmd_jax.predict import predictor

    formats = {name: FORMATS[name] for name in NAMES if name in names}
    cli.require("export", [module for form in formats.values() for module in form.needs])
    source = predictor.export_folder(checkpoint)
    exported = predictor.read_student(source)
    described = describe(exported)
    earlier = earlier_export(out, source, described["weights_sha256"])
    records = model_card.find_records(source, exported)
    with placed(out) as folder:
        for form in formats.values():
            form.write(exported, folder)
        results = {**earlier, **compare(exported, formats, folder)}
        summary = {**described, "formats": {name: results[name] for name in NAMES if name in results}}
        if records is not None and "orbax" in formats:
            digest.write_json(folder / model_card.RECORDS, records)  # so that the network's card can be written again
        write_json(folder / SUMMARY, summary)
        write_text(folder / CARD, model_card.render(exported, summary, records))
    return summary


def describe(exported: SavedModel) -> dict[str, Any]:
    """Which network this is, and what it was exported with."""
    import jax

    from pmd_jax.config.methods import METHODS
    from pmd_jax.export.formats import STABLEHLO_VERSION
    from pmd_jax.models.resnet import parameter_count
    from pmd_jax.runtime.environment import hardware

    hashed = hashlib.sha256(exported.method.encode())
    for leaf in jax.tree.leaves(exported.weights):
        hashed.update(jax.device_get(leaf).tobytes())
    return {
        "row": exported.method,
        "title": METHODS[exported.method].title,
        "parameters": parameter_count(exported.weights.params),
        "weights_sha256": hashed.hexdigest(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "orbax-checkpoint")}
        | {"stablehlo": STABLEHLO_VERSION},
    }


def earlier_export(out: Path, source: Path, weights_sha256: str) -> dict[str, Any]:
    """What export.json says of the formats that are in `out` already; `out` may be the source's own folder.

    Raises:
        ExportError: `out` is no folder, or holds another network, which would then be mixed with this one.
    """
    if out.exists() and not out.is_dir():
        raise ExportError(f"--out={out} is a file; name a folder.")
    try:
        summary = json.loads(read_text(out / SUMMARY))
        if summary["weights_sha256"] == weights_sha256:
            return summary["formats"]
    except (FileNotFoundError, NotADirectoryError):
        if not (out / "network.json").exists() or out.resolve() == source.resolve():
            return {}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not one of ours, or broken: not to be added to either
    raise ExportError(f"--out={out} holds another network; name another folder, or delete it.")


@contextlib.contextmanager
def placed(out: Path) -> Iterator[Path]:
    """A folder to fill, whose content goes to `out` in the end; if anything fails, `out` is as it was.

    Raises:
        ExportError: it cannot be written.
    """
    out = out.resolve()
    try:
        # The sums last: a network without sums can be read, one with those of another cannot.
        with replacing_folder(out, last=digest.NAME) as unfinished:
            yield unfinished
    except OSError as error:
        raise ExportError(f"--out={out} could not be written ({error}); make room or name another folder.") from error


def compare(exported: SavedModel, formats: dict[str, Format], folder: Path) -> dict[str, Any]:
    """Reads each format again and compares it with the network in float32, batch norm as it was trained."""
    import jax
    import numpy as np

    from pmd_jax.data.inputs import normalise_rgb
    from pmd_jax.export.formats import in_float32
    from pmd_jax.export.verify import check, check_weights, made_up_crops

    rgb = made_up_crops()
    network = in_float32(exported).network
    with jax.default_matmul_precision("float32"):
        expected = np.asarray(jax.jit(lambda crops: network.evaluate(exported.weights, normalise_rgb(crops)).pose)(rgb))
    results = {}
    if "orbax" in formats:
        check_weights(folder, exported)
    for name, form in formats.items():
        checked = check(folder, form, rgb, expected)
        results[name] = {
            "files": list(form.files),
            "size_bytes": sum(size(folder / file) for file in form.files),
            "pictures_compared": len(rgb),
            "largest_deviation": checked.largest_deviation,
            "ms_per_picture": round(checked.ms_per_picture, 3),
            "read_with": {package: version(package) for package in form.runs_on},
        }
    return results


def version(package: str) -> str:
    # We may run from a checkout, without being installed.
    return pmd_jax.__version__ if package == "pmd_jax" else importlib.metadata.version(package)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def table(summary: dict[str, Any]) -> str:
    """export.json for the terminal."""
    lines = [
        f"{summary['title']}, {summary['parameters']:,} parameters. Each format was read in a new process:",
        f"{'format':10} {'files':22} {'MB':>7}  {'ms a picture':>12}  largest deviation, hand scales",
    ]
    for name, result in summary["formats"].items():
        files = ", ".join(result["files"])
        megabytes, ms = result["size_bytes"] / 1e6, result["ms_per_picture"]
        lines.append(f"{name:10} {files:22} {megabytes:7.2f}  {ms:12.2f}  {result['largest_deviation']:.1e}")
    return "\n".join(lines)
