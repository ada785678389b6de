"""`stormda config`: show, validate and describe configurations."""

__all__ = ["app"]

import json

import typer

from . import options
from .command import Setup, command
from .console import Console

app = typer.Typer(no_args_is_help=True, help="Show, validate and describe configurations.")


@app.command()
@command
def show(*, setup: Setup, console: Console) -> None:
    """Print the whole configuration, every default and override written out.

    Example: stormda config show -c config.yaml sampler.steps=32
    """
    config = setup.load()
    if console.as_json:
        console.result(config.model_dump(mode="json"))
        return
    from stormda.config import dump

    print(dump(config), end="")


@app.command()
@command
def validate(*, setup: Setup, console: Console) -> None:
    """Say whether the configuration is right, without looking at any data.

    Example: stormda config validate -c config.yaml
    """
    config = setup.load()
    facts = {
        "valid": True,
        "name": config.name,
        "run folder": str(config.run),
        "channels": list(config.channels),
        "archive sources": list(config.archive.sources),
        "observation sources": list(config.observations.sources),
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
