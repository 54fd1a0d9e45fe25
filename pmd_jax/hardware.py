"""The machine that a figure was measured on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import jax


def hardware() -> dict[str, str]:
    """What this ran on, in words."""
    devices = jax.devices()
    described = {
        "platform": jax.default_backend(),
        "devices": f"{len(devices)} × {devices[0].device_kind}",
        "processes": str(jax.process_count()),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        described["cpu"] = names[0] if names else platform.processor()
    return described
