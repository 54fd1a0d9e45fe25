"""How a command ends: exit codes, and the errors that a user can put right."""

EXIT_FAULT = 1  # a fault of ours, or a process that was lost: the same command may succeed
EXIT_BAD_INPUT = 2  # to be put right first
EXIT_DIVERGED = 3  # the loss is no longer a number
EXIT_PREEMPTED = 75  # asked to stop, and saved: the same command goes on
EXIT_INTERRUPTED = 130  # Ctrl-C where there was nothing to save


class InputError(ValueError):
    """Something given to us cannot be used. The message names it, the value, the limit and the remedy.

    The commands show the message alone and exit with a code of their own; every other exception is a fault of ours and
    shows its trace.
    """
