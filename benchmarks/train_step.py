"""A stage II step: ours against PyTorch, eager and compiled; and what the teacher adds to the baseline's step."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax

from benchmarks import ROOT, jax_step, torch_step
from pmd_jax.runtime.devices import devices_for
from pmd_jax.runtime.timing import by_turns
from reference.made_up_columns import make_batch

ROW = "pmd_net"


def measure(size: jax_step.Size, seconds: float, *, compiled: bool = True) -> dict[str, Any]:
    """Medians in seconds a step and images/s, and the other times over ours, which has a device for each core.

    Args:
        size: network and batch.
        seconds: to spend on the turns.
        compiled: measure torch.compile, too; where it does not work, the reason is recorded.
    """
    batch = make_batch(size.batch)
    devices = devices_for(jax.device_count(), [size.batch])
    programs: dict[str, Callable[[], None]] = {
        "ours": jax_step.Training(size.config, ROW, batch, devices),
        "ours_one_device": jax_step.Training(size.config, ROW, batch),
        "pytorch_eager": torch_step.training(size.config, ROW, batch),
    }
    failure = None
    if compiled:
        # Inductor's programs are kept as XLA's are: the next run compiles little.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / ".jax_cache" / "torch"))
        program = torch_step.training(size.config, ROW, batch, compiled=True)
        try:
            program()
            programs["pytorch_compiled"] = program
        except Exception as error:  # a missing compiler, an unsupported operation: the page says which
            failure = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    step_s = by_turns(programs, seconds=seconds)
    return {
        "batch": size.batch,
        "devices": devices,
        "step_s": step_s,
        "images_per_s": {name: size.batch / spent for name, spent in step_s.items()},
        "ratio": {name: spent / step_s["ours"] for name, spent in step_s.items() if name != "ours"},
        **({"pytorch_compiled_failed": failure} if failure else {}),
    }


def teachers_cost(size: jax_step.Size, seconds: float) -> dict[str, Any]:
    """Medians in seconds a step of the RGB baseline and of PMD-Net, with the teacher's table and without."""
    batch = make_batch(size.batch)
    programs = {
        "baseline": jax_step.Training(size.config, "rgb_baseline", batch),
        "cached": jax_step.Training(size.config, ROW, batch, cached=True),
        "uncached": jax_step.Training(size.config, ROW, batch),
    }
    step_s = by_turns(programs, seconds=seconds)
    return {
        "batch": size.batch,
        "step_s": step_s,
        **{f"{name}_over_baseline": step_s[name] / step_s["baseline"] for name in ("cached", "uncached")},
    }
