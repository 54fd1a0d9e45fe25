"""Python imports this first in the processes that tests start: each of several keeps its programs, not process 0 alone.

JAX lets process 0 alone write to its cache, since many hosts may share the disk; on CPUs the others cannot use what it
keeps. They would compile everything anew in every test, and process 0 would wait for them.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from types import ModuleType

COMPILER = "jax._src.compiler"


def let_all_write(compiler: ModuleType) -> None:
    """A JAX without these names goes on as it is: slower, and no less right."""
    write = getattr(compiler, "_cache_write", None)
    state = getattr(getattr(compiler, "distributed", None), "global_state", None)
    if write is None or not hasattr(state, "process_id"):
        return

    def write_as_process_0(*arguments):
        process, state.process_id = state.process_id, 0
        try:
            write(*arguments)
        finally:
            state.process_id = process

    compiler._cache_write = write_as_process_0


class AfterImport(importlib.abc.MetaPathFinder):
    """Waits for JAX's compiler to be imported. Importing it here would be before the program has set up JAX."""

    def find_spec(self, name, path=None, target=None):
        if name != COMPILER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            let_all_write(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, AfterImport())
