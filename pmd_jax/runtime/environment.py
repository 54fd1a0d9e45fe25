"""What a figure was measured with: the machine, the libraries, this code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import jax

from pmd_jax.runtime.packaged import CARRIED, PACKAGE, packaged


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
        names = [
            line.split(":")[1].strip()
            for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
            if "model name" in line
        ]
        described["cpu"] = names[0] if names else platform.processor()
    return described


def versions() -> dict[str, str]:
    """The libraries that a figure may depend on."""
    return {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax", "orbax-checkpoint")}


def code_digest() -> str:
    """Names the state of this package's code and builders: two processes with the same run the same."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in (PACKAGE, packaged("datasets")):
        for path in sorted(path for path in folder.rglob("*.py") if folder != PACKAGE or CARRIED not in path.parents):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
