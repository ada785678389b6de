"""`stormda config`: show, validate and describe configurations."""

__all__ = ["app"]

import json
from pathlib import Path

import typer

from . import options
from .console import Console

app = typer.Typer(no_args_is_help=True, help="Show, validate and describe configurations.")


@app.command()
def show(
    overrides: options.Overrides = None,
    config: options.ConfigFile = Path("config.yaml"),
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Print the whole configuration, every default and override written out.

    Example: stormda config show -c config.yaml sampler.steps=32
    """
    console = Console(as_json, verbose, quiet, log_format)
    settings = options.load_config(config, overrides)
    if as_json:
        console.result(settings.model_dump(mode="json"))
        return
    from stormda.config import dump

    print(dump(settings), end="")


@app.command()
def validate(
    overrides: options.Overrides = None,
    config: options.ConfigFile = Path("config.yaml"),
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Say whether the configuration is right, without looking at any data.

    Example: stormda config validate -c config.yaml
    """
    console = Console(as_json, verbose, quiet, log_format)
    settings = options.load_config(config, overrides)
    facts = {
        "valid": True,
        "name": settings.name,
        "run folder": str(settings.run),
        "channels": list(settings.channels),
        "archive sources": list(settings.archive.sources),
        "observation sources": list(settings.observations.sources),
    }
    console.result(facts)


@app.command()
def schema(
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Print the JSON schema of a configuration, for editors.

    Example: stormda config schema > stormda.schema.json
    """
    Console(True, verbose, quiet, log_format)
    from stormda.config import schema as tree

    print(json.dumps(tree(), indent=2))
