"""How many devices JAX makes of a CPU: one a core, for the batch is split over devices and not within one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax

from pmd_jax.runtime.cores import has_accelerator, usable_cores

FEWEST_SAMPLES = 4  # of a batch for each device: below, passing them around costs more than it saves


def devices_for(cores: int, batches: Sequence[int]) -> int:
    """As many devices as there are cores, as long as they divide every batch and each has enough of it."""
    fitting = [n for n in range(1, cores + 1) if all(size % n == 0 and size // n >= FEWEST_SAMPLES for size in batches)]
    return max(fitting, default=1)


def use_all_cores(batches: Sequence[int]) -> None:
    """Makes JAX's CPU devices, before the first computation; an accelerator is used as it is.

    JAX_NUM_CPU_DEVICES goes before it, as does the flag of XLA that means the same.

    Args:
        batches: the sizes that are split over the devices.
    """
    asked = "JAX_NUM_CPU_DEVICES" in os.environ or "device_count" in os.environ.get("XLA_FLAGS", "")
    if not asked and not has_accelerator():
        jax.config.update("jax_num_cpu_devices", devices_for(usable_cores(), batches))
