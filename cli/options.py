"""The options that commands share, each explained once."""

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
]

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

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
    typer.Option(
        "--method",
        metavar="NAME",
        help="storm, gaussian, kf, oi, letkf or ensf: assimilate.method.",
        show_default=False,
    ),
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
