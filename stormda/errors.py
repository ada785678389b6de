"""Every error that a user can meet, as one tree.

    StormdaError                 something failed                                   exit 1
    ├── ConfigError              the configuration or the command line is wrong     exit 2
    ├── InputError               a file is there, but not what it should be         exit 1
    │   └── CheckpointError      weights or a checkpoint do not fit this job        exit 1
    ├── InputMissing             required input is missing or too late              exit 3
    ├── OutputError              a result cannot be written                         exit 1
    ├── AlreadyRunning           another process holds the lock                     exit 4
    └── AnalysisRejected         the analysis failed its sanity check               exit 5

Each carries what happened and, where they exist, the file, the configuration key and the way out.
`stormda.cli.failure` turns them into one line and an exit code; nothing else catches them.
"""

__all__ = [
    "AlreadyRunning",
    "AnalysisRejected",
    "CheckpointError",
    "ConfigError",
    "InputError",
    "InputMissing",
    "OutputError",
    "StormdaError",
]

import os


class StormdaError(Exception):
    """What happened, in one sentence without a full stop, and how to go on.

    Args:
        what: the sentence.
        file: the file that is concerned.
        key: the dotted configuration key that is concerned.
        hint: a command or an action that helps.

    `told` is true where another process of the same command says it.
    """

    told = False

    def __init__(
        self,
        what: str,
        *,
        file: str | os.PathLike[str] | None = None,
        key: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.file = None if file is None else os.fspath(file)
        self.key = key
        self.hint = hint

    def __str__(self) -> str:
        where = [f"file={self.file}"] if self.file else []
        where += [f"key={self.key}"] if self.key else []
        text = f"{self.what} - {' '.join(where)}" if where else self.what
        return f"{text}; hint: {self.hint}" if self.hint else text


class ConfigError(StormdaError):
    """The configuration or the command line is wrong."""


class InputError(StormdaError):
    """A file is there, but it is not what it should be: truncated, wrong variable, wrong unit, NaN."""


class CheckpointError(InputError):
    """Weights or a training checkpoint do not fit the grid, the channels or the network of this job."""


class InputMissing(StormdaError):
    """A required file or too many required observations are missing; a scheduler may try again later."""


class OutputError(StormdaError):
    """A result cannot be written: no permission, no room, not a folder."""


class AlreadyRunning(StormdaError):
    """Another process holds the lock of this job."""


class AnalysisRejected(StormdaError):
    """The analysis failed its sanity check and was not published."""
