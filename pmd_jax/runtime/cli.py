"""What the commands share: exit codes, a sentence for what a user can put right, the compile cache, extras."""

from __future__ import annotations

import ctypes
import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from absl import flags, logging

from pmd_jax.runtime.errors import (
    EXIT_BAD_INPUT,
    EXIT_DIVERGED,
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    EXIT_PREEMPTED,
    Diverged,
    InputError,
    OtherFailed,
    Preempted,
    sentence_of,
)
from pmd_jax.runtime.packaged import install_command


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, with a sentence in place of a traceback for a config that does not load."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal of few letters must not cost a run its end
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        lines = str(error).strip(' "\n').splitlines()
        # An error inside a config file comes with its traceback; its last line says what is wrong.
        said = lines[-1].partition("Error: ")[2] if any(line.startswith("Traceback") for line in lines) else lines[0]
        print(f"Error: {said or lines[-1]} (fields and their meaning: pmd_jax/config/schema.py)", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


def set_up_jax() -> None:
    """Quiet libraries, a compile cache, freed memory kept; before the first computation."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.FATAL)  # Orbax logs every file it writes, and each error before it raises it
    prepare_xla()


def prepare_xla() -> None:
    """Keeps freed memory, and XLA's programs in JAX_COMPILATION_CACHE_DIR or below the user's home, if there is one."""
    keep_freed_memory()
    if (cache := compile_cache()) is None:
        return
    # JAX reads these when it is imported, which some commands never do.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if (jax := sys.modules.get("jax")) is not None:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def compile_cache() -> str | None:
    """Where XLA's programs are kept; None for a user whom the system does not know, who has no home."""
    home = Path(os.path.expanduser("~"))  # stays "~" then
    ours = str(home / ".cache" / "pmd_jax" / "xla") if home.is_absolute() else None
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or ours


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed for the next step; where there is no glibc, does nothing.

    XLA's CPU backend allocates its temporaries anew in each step. Above 32 MiB glibc hands each such block back to the
    kernel, which then clears every page again: a quarter of the demo's step on two cores.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**30)


def exit_code(job: Callable[[], None]) -> int:
    """Runs a job; how it ended as an exit code, with a sentence where it did not end well.

    With several processes all end with the same code, and the first that failed says why.
    """
    sentence, code = _outcome(job)
    if "pmd_jax.runtime.distributed" not in sys.modules:  # it brings JAX, which some jobs do without
        return code
    from pmd_jax.runtime import ending

    try:
        ending.leave(sentence, code)
    except (OtherFailed, Preempted) as error:  # while waiting for the end of all
        code = getattr(error, "code", EXIT_PREEMPTED)
        ending.leave(_said(error), code)
    return code


def _outcome(job: Callable[[], None]) -> tuple[str, int]:
    """Runs a job; what to tell the other processes, and the exit code."""
    try:
        job()
        return "", 0
    except Diverged as error:
        return _said(error), EXIT_DIVERGED
    except OtherFailed as error:
        return _said(error), error.code
    except Preempted as error:
        print(f"{error}; run the same command again to go on.", file=sys.stderr)
        return str(error), EXIT_PREEMPTED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return "interrupted", EXIT_INTERRUPTED
    except Exception as error:
        ending = sys.modules.get("pmd_jax.runtime.ending")
        if ending and not isinstance(error, InputError) and (told := ending.failure_of_another()) is not None:
            return _said(told), getattr(told, "code", EXIT_PREEMPTED)
        if (sentence := sentence_of(error)) is not None:
            return _said(sentence), EXIT_BAD_INPUT
        distributed = sys.modules.get("pmd_jax.runtime.distributed")
        if distributed is None or not distributed.several():
            raise
        traceback.print_exc()
        first_line = str(error).strip().partition("\n")[0]
        return f"{type(error).__name__}: {first_line}", EXIT_FAULT


def _said(sentence: object) -> str:
    print(f"Error: {sentence}", file=sys.stderr)
    return str(sentence)


def require(extra: str, modules: Iterable[str]) -> None:
    """Makes sure that an optional extra is installed, before anything is done.

    Raises:
        InputError: one of its modules is missing; names the command that installs it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} not found: the extra {extra!r} is not installed; {install_command(extra)}"
        )
