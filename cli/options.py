"""The options that commands share, each explained once, and how they become a configuration."""

__all__ = [
    "AsJson",
    "ConfigFile",
    "Cycle",
    "DryRun",
    "Ensemble",
    "From",
    "LogFormat",
    "Method",
    "OneCycle",
    "Overrides",
    "Quiet",
    "To",
    "Verbose",
    "cycles_of",
    "given",
    "load_config",
    "stop_if_wrong",
]

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

if TYPE_CHECKING:
    import numpy as np

    from stormda.config import Config
    from stormda.pipeline.findings import Findings

TALK = "Talk"

ConfigFile: TypeAlias = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration.", show_default=True)
]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="key.sub=value", help="Values that replace those of the configuration.", show_default=False),
]
Cycle: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--cycle", metavar="TIME", help="Analysis time, ISO 8601 in UTC; may be repeated.", show_default=False
    ),
]
OneCycle: TypeAlias = Annotated[
    str, typer.Option("--cycle", metavar="TIME", help="Analysis time, ISO 8601 in UTC.", show_default=False)
]
From: TypeAlias = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="First of several analysis times.", show_default=False)
]
To: TypeAlias = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="Last of them, included, assimilate.step apart.", show_default=False),
]
Ensemble: TypeAlias = Annotated[
    int | None,
    typer.Option("--ensemble", metavar="N", help="Members: assimilate.ensemble.", show_default=False),
]
Method: TypeAlias = Annotated[
    str | None,
    typer.Option("--method", metavar="NAME", help="storm, gaussian, kf or oi: assimilate.method.", show_default=False),
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON document.", rich_help_panel=TALK)
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more; show the traceback of a fault.", rich_help_panel=TALK)
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only warnings and errors.", rich_help_panel=TALK)
]
LogFormat: TypeAlias = Annotated[
    Literal["text", "json"], typer.Option("--log-format", help="How to write to stderr.", rich_help_panel=TALK)
]


def stop_if_wrong(findings: "Findings") -> None:
    """Raise InputError if something is broken, InputMissing if something required is missing."""
    from stormda.errors import InputError, InputMissing
    from stormda.pipeline.findings import Status

    for status, error in ((Status.BROKEN, InputError), (Status.MISSING, InputMissing)):
        if wrong := findings.of(status):
            hint = next((f.hint for f in wrong if f.hint), None)
            raise error(f"{status.value}: {'; '.join(f'{f.what}: {f.detail}' for f in wrong)}", hint=hint)


def given(key: str, value: object) -> list[str]:
    """The override of an option, or none if the option was not given."""
    return [] if value is None else [f"{key}={value}"]


def load_config(
    path: Path | None, overrides: Sequence[str] | None, *options: Sequence[str], base: dict[str, Any] | None = None
) -> "Config":
    """The configuration with positional overrides, then those that options stand for."""
    from stormda.config import load

    from .console import Console

    config = load(path, [*(overrides or ()), *(text for texts in options for text in texts)], base)
    Console.current().run = config.run
    return config


def cycles_of(
    cycles: Sequence[str] | None, first: str | None, last: str | None, step: "np.timedelta64"
) -> "list[np.datetime64]":
    """Analysis times: those named, or all from `first` to `last`, both included; raises ConfigError."""
    from stormda.errors import ConfigError
    from stormda.time import parse_time

    if bool(first) != bool(last) or (cycles and first):
        raise ConfigError("give --cycle, or both --from and --to", hint="--from 2019-02-17T00Z --to 2019-02-18T12Z")
    if first and last:
        start, end = parse_time(first), parse_time(last)
        if end < start:
            raise ConfigError(f"--to {last} is before --from {first}")
        return [start + k * step for k in range(int((end - start) // step) + 1)]
    return [parse_time(cycle) for cycle in cycles or ()]
