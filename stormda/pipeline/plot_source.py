"""What a picture is drawn from: the files that a path of the command line stands for.

a run folder                analyses of one method and their statistics files; maps are of one of the analyses
the folder of an analysis   its ensembles and its feedback
a single file               an ensemble (analysis.nc, background.nc, forecast_006h.nc), a feedback or statistics file
"""

__all__ = ["Ensembles", "Source", "open_source"]

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from stormda.errors import ConfigError, InputError, InputMissing
from stormda.pipeline.inspect_run import is_run
from stormda.pipeline.layout import parse_folder
from stormda.store.analysis import Analysis, read_analysis
from stormda.store.feedback import Feedback, read_feedback
from stormda.store.netcdf import open_netcdf
from stormda.time import format_time
from stormda.verification.compare import innovations
from stormda.verification.statistics import read_record
from stormda.verification.tally import Tally

Ensembles = dict[str, Path]
"""By name (`analysis`, `background`, `forecast`): a file of an ensemble."""


@dataclass(frozen=True, eq=False)
class Source:
    """The files that there are.

    Args:
        path: what was named.
        ensembles: of one analysis time.
        feedback: of that time; None where there is none.
        others: the feedback files of every time, in order, that one among them.
        statistics: statistics files of every time, in order.
    """

    path: Path
    ensembles: Ensembles = field(default_factory=dict)
    feedback: Path | None = None
    others: tuple[Path, ...] = ()
    statistics: tuple[Path, ...] = ()

    def ensemble(self, name: str) -> Analysis:
        """An ensemble; raises InputMissing where it is not among the files."""
        if name not in self.ensembles:
            there = ", ".join(self.ensembles) or "no ensemble"
            raise InputMissing(f"there is no {name} here, but {there}", file=self.path, hint="stormda plot PATH --list")
        return read_analysis(self.ensembles[name])

    @cached_property
    def seen(self) -> Feedback:
        """The feedback of the analysis; raises InputMissing."""
        if self.feedback is None:
            raise InputMissing("there is no feedback.nc here", file=self.path, hint="name an analysis or a run folder")
        return read_feedback(self.feedback)

    @cached_property
    def tally(self) -> Tally:
        """The sums of every time: of statistics files, else the departures of feedback files."""
        if self.statistics:
            return Tally.of(part for file in self.statistics for part in read_record(file).parts)
        parts = []
        for file in self.others:
            feedback = read_feedback(file)
            times = feedback.observations["time"]
            named = parse_folder(file.parent.name)
            cycle, split = named if named else (times.max().astype("datetime64[s]") if len(times) else _EPOCH, None)
            parts += innovations(feedback.background, feedback.analysis, feedback.observations, (), cycle, split or 0)
        return Tally.of(parts)


_EPOCH = np.datetime64(0, "s")


def open_source(path: Path, *, method: str | None = None, cycle: np.datetime64 | None = None) -> Source:
    """What is at a path.

    Args:
        path: of a run folder, of the folder of an analysis, or of a file.
        method: of a run folder; None: the only one that is there.
        cycle: of a run folder, what maps are of; None: the newest.

    Raises:
        InputMissing: nothing is there, or no analysis of that method or time.
        InputError: nothing that pictures are drawn from.
        ConfigError: several methods, and none was named.
    """
    if not path.exists():
        raise InputMissing("there is no such file or folder", file=path)
    if path.is_file():
        return _file(path)
    if (path / "analysis.nc").is_file():
        return _folder(path, (path,), ())
    if not is_run(path):
        hint = "name a run folder, the folder of an analysis, or a file of one"
        raise InputError("neither a run nor an analysis of stormda", file=path, hint=hint)
    name = _method(path, method)
    folders = _named(path / "analyses" / name)
    files = tuple(sorted((path / "verification" / name / "statistics").glob("*.parquet")))
    chosen = [f for f in folders if cycle is None or _cycle(f) == cycle]
    if not chosen and (cycle is not None or not files):
        what = f"there is no analysis of method {name}" + (f" at {format_time(cycle)}" if cycle is not None else "")
        hint = f"there are {folders[0].name} to {folders[-1].name}" if folders else "stormda assimilate"
        raise InputMissing(what, file=path / "analyses" / name, hint=hint)
    newest = max(chosen, key=_cycle) if chosen else None
    return _folder(newest, folders, files) if newest else Source(path, statistics=files)


def _file(path: Path) -> Source:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PAR1":
        return Source(path, statistics=(path,))
    with open_netcdf(path, hint="stormda inspect says what it is") as opened:
        layout = getattr(opened, "stormda_layout", None)
    if layout == "feedback":
        return Source(path, feedback=path, others=(path,))
    if layout == "ensemble":
        name = path.stem if path.stem in ("analysis", "background") else "forecast"
        return Source(path, {name: path})
    raise InputError("pictures are drawn of ensembles, feedback and statistics files", file=path)


def _folder(folder: Path, folders: Sequence[Path], statistics: tuple[Path, ...]) -> Source:
    there = {name: folder / f"{name}.nc" for name in ("analysis", "background") if (folder / f"{name}.nc").is_file()}
    feedback = folder / "feedback.nc"
    split = (parse_folder(folder.name) or (None, None))[1]
    alike = [f for f in folders if (parse_folder(f.name) or (None, None))[1] == split]  # one choice of stations
    others = tuple(f / "feedback.nc" for f in alike if (f / "feedback.nc").is_file())
    return Source(folder, there, feedback if feedback.is_file() else None, others, statistics)


def _method(run: Path, method: str | None) -> str:
    roots = [run / "analyses", run / "verification"]
    names = sorted({p.name for r in roots if r.is_dir() for p in r.iterdir() if p.is_dir() and p.name[0] != "."})
    if method is not None:
        if method not in names:
            raise InputMissing(f"there is nothing of method {method}", file=run, hint=f"there is {', '.join(names)}")
        return method
    if not names:
        raise InputMissing("there is no analysis yet", file=run, hint="stormda assimilate")
    if len(names) > 1:
        raise ConfigError(f"there are several methods in {run}", key="--method", hint=f"one of {', '.join(names)}")
    return names[0]


def _named(root: Path) -> list[Path]:
    found = [p for p in root.iterdir() if parse_folder(p.name)] if root.is_dir() else []
    return sorted(found, key=lambda p: p.name)


def _cycle(folder: Path) -> np.datetime64:
    named = parse_folder(folder.name)
    assert named is not None
    return named[0]
