"""The one exception that a user is meant to read."""


class LowrankError(Exception):
    """A problem that the user can act on.

    The message is one line: what is wrong, where, and what to do about it.
    """
