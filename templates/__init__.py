"""Files that stormda copies or fills in: commented configurations (`configs/`) and pages of reports."""

__all__ = ["configuration", "names"]

from importlib.resources import files

from stormda.errors import ConfigError


def names() -> list[str]:
    """The configurations that `stormda init` can write."""
    folder = files(__name__).joinpath("configs")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def configuration(name: str) -> str:
    """The text of a configuration; raises ConfigError for a name that is not there."""
    if name not in names():
        raise ConfigError(f"there is no template '{name}'", key="--template", hint=f"one of {', '.join(names())}")
    return files(__name__).joinpath(f"configs/{name}.yaml").read_text(encoding="utf-8")
