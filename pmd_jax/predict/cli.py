"""Pictures, videos or a camera in, hands out: `python -m pmd_jax.predict hand.jpg --out=hands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from pmd_jax.data import hand
from pmd_jax.predict import images, pipeline, video
from pmd_jax.predict.boxes import assign, read_boxes
from pmd_jax.predict.detector import is_installed
from pmd_jax.predict.writers import FORMATS, HandWriter
from pmd_jax.runtime.cli import set_up_jax
from pmd_jax.runtime.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, InputError, sentence_of
from pmd_jax.runtime.files import given_path
from pmd_jax.runtime.packaged import install_command


class Sources(NamedTuple):
    """What is to be looked at."""

    pictures: list[Path]
    videos: list[Path | int]  # a number is a camera
    skipped: list[str]  # a sentence for each folder that holds other files, too


def find_sources(paths: Sequence[str]) -> Sources:
    """Folders become the pictures and videos in them, in order of their names; ~ is the home folder.

    Raises:
        InputError: a path that is not there, or a folder without pictures.
    """
    sources = Sources([], [], [])
    for name in paths:
        path = given_path(name)
        if path.is_dir():
            files = _in_folder(path, sources.skipped)
        elif path.exists():
            files = [path]
        elif name.isdigit():
            sources.videos.append(int(name))
            continue
        else:
            raise InputError(f"{path}: there is no such file or folder.")
        for file in files:
            (sources.videos if file.suffix.lower() in video.SUFFIXES else sources.pictures).append(file)
    return sources


def _in_folder(folder: Path, skipped: list[str]) -> list[Path]:
    """Hidden files are none of them: a Mac leaves ._a.png beside a.png, which holds no picture."""
    suffixes = (*images.SUFFIXES, *video.SUFFIXES)
    present = sorted(file for file in folder.iterdir() if not file.is_dir())
    files = [file for file in present if file.suffix.lower() in suffixes and not file.name.startswith(".")]
    known = set(files)
    names = _by_kind([file for file in present if file not in known])
    # Said, since people do not know what their phone writes.
    remedy = f" {images.HEIC_REMEDY}." if any(file.suffix.lower() in images.HEIC_SUFFIXES for file in present) else ""
    if not files:
        held = f" (but {names})" if names else ""
        raise InputError(f"{folder} holds no picture and no video{held}; looked for {', '.join(suffixes)}.{remedy}")
    if names:
        count = len(present) - len(files)
        skipped.append(
            f"{folder}: {count} of {len(present)} files left out, no picture or video by name: {names}.{remedy}"
        )
    return files


def _by_kind(files: Sequence[Path]) -> str:
    """A name for each kind, and how many there are."""
    kinds: dict[str, list[str]] = {}
    for file in files:
        kinds.setdefault(file.suffix.lower(), []).append(file.name)
    more = (f" and {len(names) - 1} more {kind}".rstrip() if len(names) > 1 else "" for kind, names in kinds.items())
    return ", ".join(names[0] + others for names, others in zip(kinds.values(), more, strict=True))


def predict(
    sources: Sources, checkpoint: Path | None, settings: pipeline.InferenceOptions, files: HandWriter
) -> list[str]:
    """Looks at everything and writes it; returns a sentence for each file that could not be used to its end."""
    from pmd_jax.predict import predictor

    network = predictor.load(checkpoint)
    problems: list[str] = []
    found = pipeline.predict_images(network, sources.pictures, settings, problems)
    for one in tqdm(found, total=len(sources.pictures), unit=" pictures", disable=None if sources.pictures else True):
        files.add(one)
    for source in sources.videos:
        try:
            opened = video.Video(source)
            with files.of_video(opened):
                found = pipeline.predict_video(network, opened, settings)
                for one in tqdm(found, total=opened.frames or None, unit=" pictures", desc=opened.name, disable=None):
                    files.add(one)
        except InputError as error:  # what was read of it is kept, and the others go on
            problems.append(str(error))
    return [*problems, *files.problems]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if (options.overlay or options.turntable) and options.out is None:
            raise InputError("--overlay and --turntable make files: name a folder for them, --out=FOLDER.")
        sources = find_sources(options.paths)
        for sentence in sources.skipped:
            print(sentence, file=sys.stderr)
        films = [source for source in sources.videos if isinstance(source, Path)]
        boxes = assign(read_boxes(options.boxes), [*sources.pictures, *films], options.boxes) if options.boxes else {}
        settings = pipeline.InferenceOptions(
            options.box, boxes, options.mirror, options.smooth, options.side, options.hand_scale_m, is_installed()
        )
        set_up_jax()
        with HandWriter(options.out, options.format, options.overlay, options.turntable) as files:
            try:
                problems = predict(sources, options.checkpoint, settings, files)
            except KeyboardInterrupt:
                print("Interrupted; what was found is kept.", file=sys.stderr)
                return EXIT_INTERRUPTED
    except (InputError, OSError) as error:  # what a user can put right; anything else is our fault and shows its trace
        print(f"Error: {sentence_of(error) or error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if files.unboxed:
        print(
            f"{files.unboxed} of {files.count} had no box, and the hand detector is not installed: the network saw "
            f"their central square. Give --box=X0,Y0,SIDE or --boxes=FILE, or {install_command('detect')}",
            file=sys.stderr,
        )
    if files.without_hand:
        print(
            f"No hand was found in {files.without_hand} pictures, which have no line. Give --box=X0,Y0,SIDE or "
            "--boxes=FILE where there is one.",
            file=sys.stderr,
        )
    for problem in problems:
        print(f"Error: {problem}", file=sys.stderr)
    return EXIT_BAD_INPUT if problems else 0


def _box(text: str) -> tuple[float, float, float]:
    try:
        x0, y0, side = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not X0,Y0,SIDE in pixels, e.g. 120,40,256") from None
    return x0, y0, side


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pmd_jax.predict", description="Hands in pictures, videos or a camera's view."
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a picture, a video, a folder of them, a camera's number"
    )
    parser.add_argument(
        "--checkpoint",
        type=given_path,
        metavar="FOLDER",
        help="an export (the demo network)",
    )
    parser.add_argument(
        "--out", type=given_path, metavar="FOLDER", help="where files go; else lines to standard output"
    )
    parser.add_argument("--format", default="jsonl", choices=FORMATS, help="joints.jsonl or joints.csv (%(default)s)")
    parser.add_argument("--box", type=_box, metavar="X0,Y0,SIDE", help="the square around the hand, pixels, everywhere")
    parser.add_argument("--boxes", type=given_path, metavar="FILE", help="boxes by picture: JSON lines, file and box")
    parser.add_argument("--hand_scale_m", type=float, metavar="M", help="wrist to middle MCP, about 0.09: adds metres")
    parser.add_argument("--side", choices=hand.SIDES, help="which hand it is; handed on")
    parser.add_argument("--mirror", action="store_true", help="for a network trained on the other side's hands only")
    parser.add_argument("--smooth", action="store_true", help="One-Euro filter over a video's joints")
    parser.add_argument("--overlay", action="store_true", help="draw the joints: PNG for pictures, MP4 for videos")
    parser.add_argument("--turntable", action="store_true", help="the hand turning: GIF for pictures, MP4 for videos")
    return parser
