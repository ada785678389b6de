"""Stage `init`: a folder with a commented configuration, and for the embedded world also its files."""

__all__ = ["InitResult", "init"]

import re
from dataclasses import dataclass
from pathlib import Path

from stormda.errors import ConfigError
from stormda.store.publish import write_text
from stormda.templates import configuration
from stormda.types import Progress, silent


@dataclass(frozen=True)
class InitResult:
    """What was written, and what to do next."""

    folder: str
    template: str
    files: tuple[str, ...]
    next: tuple[str, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        return f"{self.folder} from template {self.template}; next:", ["command"], [[line] for line in self.next]


def init(folder: Path, template: str, *, progress: Progress = silent) -> InitResult:
    """Write `config.yaml` into a folder.

    Args:
        folder: new, or without a configuration; its name becomes the name of the run.
        template: `sqg-demo` (the embedded world, with its files), `europe` or `minimal`.
        progress: told about the work.

    Raises:
        ConfigError: an unknown template, a name that cannot be one, or a configuration that is there already.
        OutputError: the folder cannot be written.
    """
    text, name, file = configuration(template), folder.resolve().name, folder / "config.yaml"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ConfigError(f"'{name}' cannot be the name of a run", hint="letters, digits, '-', '_' and '.'")
    if file.exists():
        raise ConfigError("there is a configuration already", file=file, hint="choose another NAME, or remove the file")
    files = [str(file)]
    if template == "sqg-demo":
        from stormda.pipeline.demo import write_world  # Brings torch, which the other templates do without.

        write_world(folder / "data", progress)
        files += [str(p) for p in sorted((folder / "data").iterdir())]
    write_text(file, re.sub(r"(?m)^name: .*$", f"name: {name}", text, count=1))
    return InitResult(str(folder), template, tuple(files), (f"cd {folder}", *_next(text)))


def _next(text: str) -> list[str]:
    """The commands that the first lines of a template name."""
    head = text.split("\n\n", 1)[0]
    return [" ".join(m[1].split()) for m in re.finditer(r"(?m)^#\s{2,}((?:export|stormda) [^#\n]*)", head)]
