"""What the processes that tests start do first (`child/sitecustomize.py`)."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_process_that_is_not_the_first_keeps_its_programs_too(tmp_path):
    """It believes to be process 0 while it writes, and at no other time."""
    code = """
import jax
from jax._src import distributed
distributed.global_state.process_id = 1
assert jax.jit(lambda x: 3 * x + 1)(2.0) == 7
assert distributed.global_state.process_id == 1
"""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **cache}, check=True)
    assert list(tmp_path.glob("jit__lambda*"))
