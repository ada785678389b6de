"""Stage `init`: a folder with a commented configuration and jobs, and for the embedded world also its files.

config.yaml
jobs/cycle.sh, crontab                  cycles by the clock on a single machine
jobs/cpu.sbatch, mpi.sbatch             the same on a cluster with Slurm: one process, or several
jobs/gpu.sbatch, nodes.sbatch           with accelerators, of one node or of many
jobs/train.sbatch                       the prior's training there
logs/                                   what they say
"""

__all__ = ["InitResult", "init"]

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from stormda.errors import ConfigError
from stormda.store.publish import write_text
from stormda.templates import configuration, jobs
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
    """Write `config.yaml` and `jobs` into a folder.

    Args:
        folder: new, or without a configuration; its name becomes the name of the run.
        template: `sqg-demo` (the embedded world, with its files), `weather-demo` (a world with rain and radars, with
            its files), `europe` or `minimal`.
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
    scripts = jobs(str(folder.resolve()), _program())
    files = [str(file), *(str(folder / "jobs" / name) for name in scripts)]
    if template == "sqg-demo":
        from stormda.pipeline.demo import write_world  # Brings torch, which the other templates do without.

        write_world(folder / "data", progress)
    if template == "weather-demo":
        from stormda.pipeline.weather_world import write_weather

        write_weather(folder / "data", progress=progress)
    if (folder / "data").is_dir():
        files += [str(p) for p in sorted((folder / "data").iterdir())]
    for script, lines in scripts.items():
        write_text(folder / "jobs" / script, lines)
        if script.endswith(".sh"):
            _executable(folder / "jobs" / script)
    (folder / "logs").mkdir(exist_ok=True)  # Slurm does not make the folder of its output.
    write_text(file, re.sub(r"(?m)^name: .*$", f"name: {name}", text, count=1))
    return InitResult(str(folder), template, tuple(files), (f"cd {folder}", *_next(text)))


def _executable(path: Path) -> None:
    """Who may read it may run it; who may read it is up to the umask."""
    mode = path.stat().st_mode
    path.chmod(mode | (mode & 0o444) >> 2)


def _program() -> str:
    """The `stormda` that runs, whole: cron knows no PATH."""
    beside = Path(sys.executable).with_name("stormda")
    return str(beside) if beside.exists() else shutil.which("stormda") or "stormda"


def _next(text: str) -> list[str]:
    """The commands that the first lines of a template name."""
    head = text.split("\n\n", 1)[0]
    return [" ".join(m[1].split()) for m in re.finditer(r"(?m)^#\s{2,}((?:export|stormda) [^#\n]*)", head)]
