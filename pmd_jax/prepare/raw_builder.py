"""What the builders of raw data (RHD, STB, recordings of one's own) share: workers, strictness, self-check, summary.

TFDS's shard-by-shard builder, since the usual one gathers a whole split for shuffling, in memory up to 1 GB and with
TensorFlow beyond. Samples stay in the archive's order; the training pipeline draws its own.
"""

from __future__ import annotations

import abc
import functools
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import tensorflow_datasets as tfds

from pmd_jax.data import selfcheck
from pmd_jax.data.frames import Outcome
from pmd_jax.prepare.archive import option
from pmd_jax.prepare.workers import parallel_map
from pmd_jax.runtime import files
from pmd_jax.runtime.errors import ArchiveError, InputError

FRAMES_PER_TASK = 32
TASKS_PER_SHARD = 32  # about a thousand samples; TFDS holds one shard in memory
SHEET_CROPS = 32
SHOWN_PROBLEMS = 100  # named in an error; the others are counted
SUMMARY_FILE, SHEET_FILE = "summary.json", "contact_sheet.png"


class SizedTask(Protocol):
    """A run of frames for one worker."""

    def __len__(self) -> int: ...


Task = TypeVar("Task", bound=SizedTask)


class RawArchiveBuilder(tfds.core.ShardBasedBuilder, Generic[Task], skip_registration=True):
    """A builder that reads someone's archive and trusts nothing in it.

    A subclass says which frames there are (`find_tasks`) and how a worker reads a run of them (`read_task`).
    """

    VERSION = tfds.core.Version("1.0.0")
    PUBLISHED_FRAMES: Mapping[str, int]  # of each split
    read_task: Callable[[Any], Outcome]  # a static, module-level function: workers find it by name

    def __init__(self, *, allow_partial: bool = False, allow_bad: int = 0, **kwargs):
        """
        Args:
            allow_partial: accept an archive with fewer frames or sequences than the published one.
            allow_bad: leave out up to this many frames that cannot be used; the summary names them.

        Raises:
            InputError: `allow_bad` is negative.
        """
        if allow_bad < 0:
            raise InputError(f"allow_bad = {allow_bad} must not be negative; 0 is strict.")
        super().__init__(**kwargs)
        self.allow_partial = allow_partial
        self.allow_bad = allow_bad
        self._outcomes: dict[str, list[Outcome]] = {}  # without their examples, which go to the disk
        self._samples: Counter[str] = Counter()
        self._sheet: list[dict[str, Any]] = []

    @abc.abstractmethod
    def find_tasks(self, folder: Path) -> Mapping[str, Sequence[Task]]:
        """The work of each split, in the order of the frames.

        Raises:
            ArchiveError: the archive, or an annotation of it, is missing, damaged or of the wrong size.
        """

    def fetch(self, folder: Path) -> None:
        """Downloads the archive into `folder`.

        Raises:
            InputError: this data set has to be fetched by hand.
        """
        raise InputError(f"{self.name} cannot be downloaded by us.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}")

    def _shard_iterators_per_split(self, dl_manager):
        try:
            folder = Path(dl_manager.manual_dir)
        except AssertionError as error:  # no such folder, or an empty one: TFDS quotes MANUAL_DOWNLOAD_INSTRUCTIONS
            raise ArchiveError(str(error)) from None
        self._outcomes, self._samples, self._sheet = {}, Counter(), []
        return {split: self._shards(split, tasks) for split, tasks in self.find_tasks(folder).items()}

    def _shards(self, split: str, tasks: Sequence[Task]) -> list[Callable[[], Iterator]]:
        """One generator a shard. TFDS runs them in order, so all draw from one stream of results."""
        frames = sum(map(len, tasks))
        results = parallel_map(
            type(self).read_task,
            tasks,
            total=frames,
            description=f"{self.name} {split}",
            unit=" frames",
        )
        every = max(1, frames // SHEET_CROPS)
        outcomes = self._outcomes[split] = []

        def shard(size: int | None) -> Iterator[tuple[str, dict]]:
            for outcome in itertools.islice(results, size):
                outcomes.append(outcome._replace(examples=[]))
                for example in outcome.examples:
                    if self._samples[split] % every == 0 and isinstance(example["rgb"], np.ndarray):
                        self._sheet.append(example)
                    self._samples[split] += 1
                    yield example["key"], example

        # The last shard takes the stream to its end, where the workers are let go.
        sizes = [TASKS_PER_SHARD] * ((len(tasks) - 1) // TASKS_PER_SHARD) + [None]
        return [functools.partial(shard, size) for size in sizes]

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        start = time.monotonic()
        super()._download_and_prepare(dl_manager, download_config)
        # TFDS's folder has its temporary name until we return: an error leaves nothing behind.
        summary = self._summary(time.monotonic() - start)
        refuse(summary, self.allow_bad)
        folder = Path(self.data_path)
        files.write_json(folder / SUMMARY_FILE, summary)
        if self._sheet:
            from pmd_jax.viz import skeleton  # loads Matplotlib: only when something is drawn

            rgb, depth, uv = (
                np.stack([example[name] for example in self._sheet[:SHEET_CROPS]]) for name in ("rgb", "depth", "uv")
            )
            skeleton.contact_sheet(rgb, depth, uv).save(folder / SHEET_FILE)

    def _summary(self, seconds: float) -> dict[str, Any]:
        """What was prepared, in a form for JSON."""
        splits = {}
        for split, outcomes in self._outcomes.items():
            groups = {}
            for outcome in outcomes:
                groups.setdefault(outcome.group, []).extend(outcome.observations)
            everything = [observation for group in groups.values() for observation in group]
            splits[split] = {
                "frames": sum(outcome.frames for outcome in outcomes),
                "samples": self._samples[split],
                "left_out": [problem for outcome in outcomes for problem in outcome.problems],
                "without_hand": without_hand(outcomes),
                "figures": selfcheck.statistics(everything) if everything else None,
                "groups": {name: selfcheck.statistics(group) for name, group in groups.items() if group},
            }
        return {
            "dataset": self.info.full_name,
            "partial": is_partial(splits, self.PUBLISHED_FRAMES),
            "allow_partial": self.allow_partial,
            "allow_bad": self.allow_bad,
            "frames_per_s": round(sum(split["frames"] for split in splits.values()) / seconds, 1),
            "splits": splits,
        }


def without_hand(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """By the groups that have frames without a hand: how many of how many."""
    found: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        count = found.setdefault(outcome.group, {"without_hand": 0, "frames": 0})
        count["without_hand"] += outcome.without_hand
        count["frames"] += outcome.frames
    return {name: count for name, count in found.items() if count["without_hand"]}


def is_partial(splits: Mapping[str, Any], published: Mapping[str, int]) -> bool:
    """Whether a summary's splits hold fewer frames than were published, whatever was allowed."""
    return any(name not in splits or splits[name]["frames"] < count for name, count in published.items())


def read_summary(prepared: Path) -> dict[str, Any]:
    """What is known of prepared data.

    Raises:
        ArchiveError: the summary is missing or broken.
    """
    path = prepared / SUMMARY_FILE
    try:
        summary = json.loads(files.read_text(path))
        for split in summary["splits"].values():
            _ = len(split["left_out"]), int(split["frames"])
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArchiveError(
            f"{path} is missing or broken ({error!r}), so that nobody knows how much of the archive is there: delete "
            f"{prepared} and prepare it again."
        ) from None
    return summary


def check_reuse(prepared: Path, published: Mapping[str, int], allow_partial: bool, allow_bad: int) -> None:
    """Refuses to pass off a part as the whole: what was left out must be allowed now as it was then.

    Args:
        published: frames of each split.

    Raises:
        ArchiveError: more is missing from the prepared data than is allowed, or it is not known.
    """
    summary = read_summary(prepared)
    if not allow_partial and is_partial(summary["splits"], published):
        raise ArchiveError(
            f"{prepared} was prepared with --allow_partial, from fewer frames than were published. Allow that here too "
            f"by {option('allow_partial')}, or delete it to prepare the whole archive."
        )
    left_out = [problem for split in summary["splits"].values() for problem in split["left_out"]]
    if len(left_out) > allow_bad:
        raise ArchiveError(
            f"{prepared} was prepared with --allow_bad, without {len(left_out)} frame(s) (allowed: {allow_bad}), first "
            f"{left_out[0]} Allow that here too by {option('allow_bad', len(left_out))}, or delete it to prepare an "
            "archive without faults."
        )


def refuse(summary: Mapping[str, Any], allow_bad: int) -> None:
    """Stops a preparation that left out too much or read nonsense.

    Raises:
        ArchiveError: more than `allow_bad` frames cannot be used, a recording shows no hand, or a split has no sample.
        SelfCheckError: a hand's geometry rules out what was read.
    """
    problems = [problem for split in summary["splits"].values() for problem in split["left_out"]]
    if len(problems) > allow_bad:
        shown = "\n".join(f"  {problem}" for problem in problems[:SHOWN_PROBLEMS])
        more = len(problems) - SHOWN_PROBLEMS
        raise ArchiveError(
            f"{len(problems)} frame(s) of {summary['dataset']} cannot be used (allowed: {allow_bad}):\n{shown}\n"
            + (f"  … and {more} more.\n" if more > 0 else "")
            + f"Fetch or repair the data, or leave these frames out by {option('allow_bad', len(problems))}."
        )
    for name, split in summary["splits"].items():
        for group, count in split["without_hand"].items():
            if count["without_hand"] == count["frames"]:
                raise ArchiveError(
                    f"{group}: no hand was found in any of its {count['frames']} frames. The hand must be what lies "
                    "nearest to the camera, 0.1 to 1.5 m away, and touch nothing; leave this recording out, or give "
                    "boxes.json (docs/your_camera.md)."
                )
        if not split["samples"]:
            raise ArchiveError(f"{summary['dataset']}: no usable frame in the {name} split.")
    found = [
        f"  {group}: {complaint}"
        for split in summary["splits"].values()
        for group, figures in split["groups"].items()
        for complaint in selfcheck.complaints(figures)
    ]
    if found:
        raise selfcheck.SelfCheckError(
            f"{summary['dataset']} does not make sense as read, so nothing was written:\n" + "\n".join(found)
        )


def summary_text(summary: Mapping[str, Any]) -> str:
    """The summary for the terminal."""
    partial = ", of a partial archive" if summary.get("partial", summary["allow_partial"]) else ""
    lines = [f"{summary['dataset']}{partial}: {summary['frames_per_s']} frames/s"]
    for name, split in summary["splits"].items():
        lines.append(
            f"  {name}: {split['samples']:,} samples of {split['frames']:,} frames, {len(split['left_out'])} left out"
        )
        if split["figures"]:
            lines += [f"    {line}" for line in selfcheck.summary_lines(split["figures"])]
        lines += [f"    left out: {problem}" for problem in split["left_out"]]
        lines += [
            f"    {group}: no hand in {count['without_hand']:,} of {count['frames']:,} frames"
            for group, count in split.get("without_hand", {}).items()
        ]
    return "\n".join(lines)
