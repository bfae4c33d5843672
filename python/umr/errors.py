"""Every error that umr raises on purpose: what happened, where, what was expected, and a hint that cures it.

The classes follow the exit codes of the command line: `InputError` and its children are the user's input (exit 1),
`UsageError` is the call itself (exit 2), everything else is ours (exit 2). The Rust extension raises these same classes.
"""

from __future__ import annotations


class UmrError(Exception):
    """Base of every error raised by umr.

    Arguments:
        message: what happened, with the value and the place (path, line, id).
        hint: what to do about it; printed apart from the message, may be empty.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UsageError(UmrError):
    """The call does not make sense: an option out of range, two options that exclude each other."""


class InputError(UmrError):
    """The user's input cannot be used: a missing file, an empty file, an unknown model, k beyond the corpus."""

    exit_code = 1


class FormatError(InputError):
    """A file does not have the form it should have; the message names path and line."""


class MismatchError(InputError):
    """An artefact was made from another encoder, language model, corpus or version than the one asked for."""


class LockedError(InputError):
    """Another process writes to the work folder."""


class ModelError(InputError):
    """A model cannot be found, reached, loaded, or is of a kind that this stage cannot use."""


class ScoreError(UmrError):
    """A language model or encoder gave a value that is not finite."""


class LostRankError(UmrError):
    """Another process of the same training has died, or cannot be reached."""


class StorageError(UmrError):
    """A file could not be written or read back: full disk, missing permission, torn file."""


class MissingExtraError(UmrError):
    """A part of umr needs an optional package that is not installed; the hint names the extra."""


class Interrupted(KeyboardInterrupt):
    """A signal asks the process to end: what Ctrl-C raises, with the number of the signal.

    Arguments:
        signal: SIGINT, SIGTERM or SIGHUP.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
