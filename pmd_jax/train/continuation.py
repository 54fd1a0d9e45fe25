"""Going on in a workdir: with which configuration, and the record of a schedule that was changed on the way."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pmd_jax.config import Config, differences, from_dict, to_dict
from pmd_jax.config.methods import METHODS
from pmd_jax.runtime import files
from pmd_jax.runtime.errors import ConfigError

BESIDE = ("schedule_changes", "devices")  # what config.json holds beside the configuration
# Where and how often to look does not change what is computed, so these may differ between a run and its continuation.
FREE_FIELDS = (
    ("data", "data_dir"),
    ("data", "manual_dir"),
    ("teacher", "cache"),  # in float32 the same to 1e-5
    ("teacher", "cache_device_mb"),
    ("tensorboard",),
    ("log_every",),
    ("checkpoint_every",),
)

# With --new_schedule these may, too. They change neither the samples of a step nor what a checkpoint holds.
SCHEDULE = ("learning_rate", "schedule", "decay_steps", "decay_factor", "warmup_steps")
STAGES = (("optim",), ("teacher", "optim"))
SCHEDULE_FIELDS = tuple((*stage, name) for stage in STAGES for name in SCHEDULE)


def check_workdir(config: Config, workdir: Path, methods: Sequence[str], new_schedule: bool = False) -> list[dict]:
    """Compares with the configuration of the run that is there, if there is one.

    Args:
        methods: that the configuration trains.
        new_schedule: whether the run may go on with another schedule.

    Returns:
        The changes of the run's schedule: earlier ones and, with `new_schedule`, those of this configuration, which are
        an entry {"row", "step": of its latest checkpoint, "fields": {name: {"from", "to"}}} for each unfinished
        method.

    Raises:
        ConfigError: the folder is a file, or holds another configuration's run.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir={workdir} is a file; name a folder.")
    path = workdir / "config.json"
    if not path.exists():
        return []
    try:
        tree = json.loads(files.read_text(path))
        recorded_beside = {name: tree.pop(name, None) for name in BESIDE} if isinstance(tree, dict) else {}
        earlier = recorded_beside.get("schedule_changes") or []
        there = to_dict(from_dict(tree))  # fields that are newer than it: at their defaults
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is broken ({error}); delete {workdir} or name another --workdir.") from error
    ours = to_dict(config)
    changed = differences(_without(ours, FREE_FIELDS), _without(there, FREE_FIELDS))
    may_change = FREE_FIELDS + SCHEDULE_FIELDS
    only_schedule = not differences(_without(ours, may_change), _without(there, may_change))
    if changed and not (new_schedule and only_schedule):
        hint = "\nOnly the schedule differs: --new_schedule lets the run go on from its last checkpoint with this one."
        raise ConfigError(
            f"{workdir} holds the run of another configuration; name another --workdir or delete it:\n  "
            + "\n  ".join(changed)
            + (hint if only_schedule else "")
        )
    return earlier + [change for stage in STAGES for change in _changes(stage, ours, there, methods, workdir)]


def check_devices(workdir: Path, devices: int) -> None:
    """Says so where a run goes on with another number of devices: bit-identical it is on the same number only."""
    before = recorded_devices(workdir)
    if before is not None and before != devices:
        print(
            f"The run in {workdir} has computed on {before} devices and resumes on {devices}: sums are rounded in "
            f"another order, so the results are not bit-identical. JAX_NUM_CPU_DEVICES={before} would keep the number.",
            file=sys.stderr,
            flush=True,
        )


def recorded_devices(workdir: Path) -> int | None:
    """On how many devices the run in a folder has computed; None where there is none.

    Earlier versions recorded nothing. They had one device on a CPU, which is what is told of them.
    """
    try:
        return json.loads(files.read_text(workdir / "config.json")).get("devices", 1)
    except (OSError, ValueError, AttributeError):
        return None


def recorded(changes: list[dict]) -> dict[str, Any]:
    """What a JSON file of a run says of its schedule's changes: nothing where there were none."""
    return {"schedule_changes": changes} if changes else {}


def of_method(changes: Sequence[Mapping[str, Any]], method: str) -> list[dict]:
    """A method's changes, without its name."""
    return [{key: change[key] for key in ("step", "fields")} for change in changes if change["row"] == method]


def _changes(
    stage: tuple[str, ...], ours: Mapping[str, Any], theirs: Mapping[str, Any], methods: Sequence[str], workdir: Path
) -> list[dict]:
    """What another schedule of a stage changes, an entry for each unfinished method of it.

    Raises:
        ConfigError: there is no such method.
    """
    name = ".".join(stage)
    new, old = _branch(ours, stage), _branch(theirs, stage)
    fields = {f"{name}.{x}": {"from": old[x], "to": new[x]} for x in SCHEDULE if new[x] != old[x]}
    if not fields:
        return []
    of_stage = [method for method in methods if (METHODS[method].modality == "depth") == ("teacher" in stage)]
    unfinished = [method for method in of_stage if not (workdir / method / "result.json").exists()]
    if not unfinished:
        field, values = next(iter(fields.items()))
        raise ConfigError(
            f"config.{field} = {values['to']!r}: every network of {workdir} that it is for is finished; leave it at "
            f"{values['from']!r}, or name another --workdir."
        )
    return [{"row": method, "step": _latest_step(workdir / method), "fields": fields} for method in unfinished]


def _without(tree: Mapping[str, Any], fields: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """A copy of a `to_dict` tree without some fields."""
    copy: dict[str, Any] = json.loads(json.dumps(tree))
    for *parents, name in fields:
        _branch(copy, parents).pop(name, None)
    return copy


def _branch(tree: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    branch: Any = tree
    for name in names:
        branch = branch.get(name, {})
    return branch


def _latest_step(folder: Path) -> int:
    """Where a method's training will go on; 0 = at its start."""
    return max((int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdigit()), default=0)
