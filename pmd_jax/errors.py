"""What a user can put right."""


class InputError(ValueError):
    """Something given to us cannot be used. The message names it, the value, the limit and the remedy.

    The commands show the message alone and exit with a code of their own; every other exception is a fault of ours and
    shows its trace.
    """
