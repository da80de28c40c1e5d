"""Mistakes that a user can mend: shown as one message, never as a traceback."""


class UserError(Exception):
    """Something is wrong with what was given; the message says what, in which file, and what to do.

    The command line prints the message and exits with status 2.
    """


class PhotographError(UserError):
    """One photograph (or its mask) cannot be used; ``prepare --skip-bad`` goes on without it."""
