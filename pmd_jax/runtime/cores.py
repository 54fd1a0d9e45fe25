"""What this machine has for computing, told without importing JAX: cores to use, and accelerators."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

_NVIDIA = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")  # the second in containers, the third in WSL
_OTHERS = ("/dev/kfd", "/dev/accel0", "/dev/vfio/0")  # AMD, TPUs
_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu")


def has_accelerator() -> bool:
    """Whether JAX would compute on something else than CPU cores."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    if asked and set(asked.split(",")) <= {"cpu"}:
        return False
    has_plugin = any(importlib.util.find_spec(name) for name in _PLUGINS)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return has_plugin and any(Path(device).exists() for device in (*(() if hidden else _NVIDIA), *_OTHERS))


def usable_cores(root: Path | None = None) -> int:
    """The cores that this process may run on, at least one: by its affinity, and by its control group's limit.

    A container or a cluster's job may see all cores of the machine and get the time of a few.

    Args:
        root: where `proc` and `sys` lie; "/" if not given.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *_limits(root or Path("/"))]))


def _limits(root: Path) -> list[int]:
    """Cores, rounded up, by each limit from this process's control group up to the top one, in either version."""
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" if not controllers else root / "sys/fs/cgroup/cpu"
        # In a container the path may be the host's, and the container's group be the mount itself.
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if controllers:
                values = [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
            else:
                values = _read(folder / "cpu.max").split()
            if len(values) == 2 and all(value.strip().isdigit() for value in values) and int(values[1]):
                limits.append(-(-int(values[0]) // int(values[1])))  # one and a half: two workers share them
            if folder == mount:
                break
    return limits


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
