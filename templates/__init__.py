"""Files that stormda copies or fills in: commented configurations (`configs/`), jobs (`jobs/`) and pages of reports."""

__all__ = ["configuration", "jobs", "names"]

import shlex
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


def jobs(project: str, program: str) -> dict[str, str]:
    """What calls `stormda cycle` on a machine or a cluster: text by name of file; those that end in .sh are programs.

    Args:
        project: the folder of the configuration, whole.
        program: `stormda`, whole.

    Raises:
        ConfigError: a path that no crontab can hold.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    for path in (project, program):
        if not path.isprintable():
            raise ConfigError(
                "a path has a character that cannot be printed", file=repr(path), hint="rename the folder"
            )
    folder = files(__name__).joinpath("jobs")
    # Shell, not HTML: every value goes through one of the two filters, which a test looks at.
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8").rstrip("\n")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"sh": shlex.quote, "cron": lambda text: shlex.quote(text).replace("%", r"\%")}
    values = {
        "project": project,
        "program": program,
        "script": f"{project}/jobs/cycle.sh",
        "configuration": f"{project}/config.yaml",
    }
    plain = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("_"))
    return {name: environment.get_template(name).render(values) + "\n" for name in plain}
