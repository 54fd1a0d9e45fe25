"""What the commands set up before they start."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from pmd_jax.runtime import cli

FAULTS = """
import resource, sys
import numpy as np
from pmd_jax.runtime.cli import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**26, np.uint8)  # 64 MiB, freed at once
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[1:]))
"""


def page_faults(mode: str) -> int:
    """Of a 64 MiB array after the first, in a process of its own: the setting stays for a process's life."""
    # Without NumPy's own use of huge pages, which would hide the faults.
    command = ["env", "NUMPY_MADVISE_HUGEPAGE=0", sys.executable, "-c", FAULTS, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_freed_memory_is_used_again():
    assert page_faults("keep") < 0.1 * page_faults("leave")


def test_too_little_memory_is_a_sentence(capsys):
    def job():
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nmore")

    assert cli.exit_code(job) == cli.EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "Too little memory (RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.)" in said
    assert "config.optim.batch" in said


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_file_that_cannot_be_written_is_a_sentence(number, capsys):
    def job():
        raise OSError(number, "the system's words", "runs/demo/config.json")

    assert cli.exit_code(job) == cli.EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "the system's words: 'runs/demo/config.json'" in said
    assert "Traceback" not in said


def test_other_errors_of_files_are_ours():
    def job():
        raise FileNotFoundError(errno.ENOENT, "No such file", "lost")

    with pytest.raises(FileNotFoundError):
        cli.exit_code(job)


def test_a_user_without_a_home_has_no_cache_of_programs(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cli.compile_cache() == "/home/somebody/.cache/pmd_jax/xla"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert cli.compile_cache() is None
