"""Errors that a user can act on."""

from __future__ import annotations


class InputError(ValueError):
    """Something given to us is wrong; the text says what, where, and what would fix it.

    The command line prints the text as one line and exits with code 2.
    """


class CancelledError(RuntimeError):
    """The person asked to stop; nothing half written is left behind."""
