"""How a command ends: exit codes, and the errors that a user can put right."""

from __future__ import annotations

import errno
from pathlib import Path

EXIT_FAULT = 1  # a fault of ours, or a process that was lost: the same command may succeed
EXIT_BAD_INPUT = 2  # to be put right first
EXIT_DIVERGED = 3  # a loss or a number of the network is not finite
EXIT_PREEMPTED = 75  # asked to stop, and saved: the same command goes on
EXIT_INTERRUPTED = 130  # Ctrl-C where there was nothing to save


class InputError(ValueError):
    """Something given to us cannot be used. The message names it, the value, the limit and the remedy.

    The commands show the message alone and exit with a code of their own; every other exception is a fault of ours and
    shows its trace.
    """


class CheckpointError(InputError):
    """A checkpoint that is missing, broken or of another network; the message names the folder and the remedy."""


class BrokenCheckpoint(CheckpointError):
    """Its bytes are not those that were saved, or nothing can be made of them."""

    def __init__(self, where: Path, error: Exception):
        self.fault = f"{where} is broken or truncated ({first_line(error)})"
        super().__init__(f"The checkpoint {self.fault}; copy it again, or delete it and run again.")


class ConfigError(InputError):
    """A configuration that cannot run; the message names the field, the value, the limit and the remedy."""


class ArchiveError(InputError):
    """What is wrong with raw data, said to the person who has to put it right."""


class DataError(InputError):
    """Prepared data that is missing, broken or unfit; the message names it and the remedy."""


class Diverged(RuntimeError):
    """The loss, or a number of the state, is no longer finite."""


class Preempted(BaseException):
    """The run was asked to stop and can go on. Not an Exception: what catches those must not pass over it."""


class OtherFailed(BaseException):
    """Another process ended the run; its exit code is that of all. Not an Exception, as `Preempted` is none."""

    def __init__(self, sentence: str, code: int):
        super().__init__(sentence)
        self.code = code


_NO_ROOM = "make room, then run the same command again; what was finished is kept"
_NO_RIGHT = "change its permissions, or name another place"
_REMEDIES = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: "this disk can only be read; name another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "name a folder, not a file",
    errno.EEXIST: "name a folder, not a file",
}


def sentence_of(error: BaseException) -> str | None:
    """What to say of an error that a user can put right; None of any other, which is a fault of ours.

    Besides `InputError` these are what a disk or its permissions refuse, and too little memory.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and (remedy := _REMEDIES.get(error.errno or 0)):
        return f"{error}: {remedy}."
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):  # the latter is XLA's
        first_line = str(error).strip().partition("\n")[0]
        return f"Too little memory ({first_line}): choose a smaller batch (config.optim.batch, config.eval_batch)."
    return None


def first_line(error: Exception) -> str:
    """An error's kind and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
