"""Projects of the tiny world that are cycled: a file of observations a cycle, which arrives when a test says so."""

import ctypes
import importlib
import json
import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import yaml
from tiny_world import FIRST, TIMES, World, child, configuration, hidden, reports, stamp

from stormda.config import Config, load
from stormda.store.analysis import read_analysis
from stormda.store.feedback import read_feedback

METHOD = "gaussian"
HOUR = np.timedelta64(3600, "s")


class Project:
    """A folder with a configuration, observations and a run folder with the archive.

    Args:
        world: the tiny world.
        folder: new.
        cycle: the section `cycle`, over a start at FIRST and no verification.
        more: other sections.
    """

    def __init__(self, world: World, folder: Path, cycle: Mapping[str, Any], **more: Any) -> None:
        tree = configuration()
        tree["observations"]["sources"]["stations"] |= {"files": ["obs/*.csv"]} | more.pop("source", {})
        tree |= {"quality": {"withhold": {"fraction": 0.0}}, "sampler": {"steps": 4}}
        tree["assimilate"] = {"ensemble": 4}
        tree["history"] = {"source": "analyses"}
        tree["archive"] |= {"sources": {}}
        tree |= more | {"cycle": {"start": stamp(FIRST), "verify": False, "lease": "1s"} | dict(cycle)}
        (folder / "obs").mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(tree))
        shutil.copytree(world.folder / "run" / "archive.zarr", folder / "run" / "archive.zarr")
        self.world, self.folder, self.run = world, folder, folder / "run"

    def config(self, *overrides: str) -> Config:
        """The configuration."""
        return load(self.folder / "config.yaml", overrides)

    def deliver(self, *indices: int, stations: int = 60, name: str = "") -> None:
        """Observations of these times come, from so many stations."""
        for k in indices:
            table = reports(self.world.truth, [k]).head(stations)
            path = self.folder / "obs" / f"{name or k}.csv"
            table.to_csv(path.with_suffix(".partial"), index=False)
            path.with_suffix(".partial").replace(path)

    def product(self, k: int) -> Path:
        """The folder of an analysis."""
        return self.run / "analyses" / METHOD / f"{np.datetime_as_string(TIMES[k], unit='m').translate(_STRIP)}Z"

    def provenance(self, k: int) -> dict[str, Any]:
        """Of an analysis."""
        return dict(json.loads((self.product(k) / "provenance.json").read_text()))

    def analysis(self, k: int) -> np.ndarray[Any, Any]:
        """The members."""
        return np.asarray(read_analysis(self.product(k) / "analysis.nc").state.values)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """From the ledger."""
        with sqlite3.connect(self.run / "cycle" / "ledger.sqlite") as db:
            return db.execute(query).fetchall()

    def states(self) -> list[str]:
        """Of the newest run of every cycle, in order."""
        return [s for (s,) in self.rows("SELECT state FROM cycles WHERE state != 'superseded' ORDER BY cycle")]

    # --- what may never happen ---

    def half_written(self, last: int | None = None) -> list[str]:
        """Products that are visible and not whole, among the last ones of each kind."""
        bad = []
        for kind, wanted in (("analyses", {"analysis.nc", "background.nc", "feedback.nc", "provenance.json"}),):
            for folder in sorted((self.run / kind).glob("*/[!.]*"))[-(last or 0) :]:
                try:
                    missing = wanted - {p.name for p in folder.iterdir()}
                    json.loads((folder / "provenance.json").read_text())
                    values = read_analysis(folder / "analysis.nc").state.values
                    read_feedback(folder / "feedback.nc")
                    if missing or not np.isfinite(values).all():
                        bad.append(str(folder))
                except Exception as error:  # Whatever it is, a reader would have met it.
                    bad.append(f"{folder}: {error}")
        return bad

    def double_runs(self) -> int:
        """Stages of a run of a cycle that were done more than once."""
        rows = self.rows("SELECT count(*) FROM events WHERE event = 'end' GROUP BY cycle, run, stage")
        return sum(n - 1 for (n,) in rows)

    def left(self) -> set[str]:
        """Half-made products under hidden names, the ledger's journal apart."""
        return hidden(self.run)


_STRIP = str.maketrans("", "", "-:")


def cycle_child(arguments: Sequence[str], talk: Path, prepare: Callable[[], None] | None) -> None:
    """Run `stormda cycle ...` in a process of its own, after `prepare`."""
    if prepare is not None:
        prepare()
    child(["cycle", *arguments], talk)


# --- where a process is cut ------------------------------------------------------------------------------------------

POINTS = (
    "session.read_new",
    "ledger.Ledger.begin",
    "methods.background",
    "methods.analysis",
    "product.write_feedback",
    "publish._take_place",
    "ledger.Ledger.finish",
    "ledger.Ledger._event",
    "ledger.Ledger.set",
    "session.clean",
)
"""Functions of a cycle in their order: a process dies as it enters one, or as it leaves it."""
_MODULES = {
    "session": "stormda.pipeline.cycle_session",
    "ledger": "stormda.store.ledger",
    "methods": "stormda.assimilation.methods",
    "product": "stormda.pipeline.product",
    "publish": "stormda.store.publish",
}


def die_at(point: str, leaving: bool) -> None:
    """Patch this process so that it dies at a point."""
    module, *path, name = point.split(".")
    owner: Any = importlib.import_module(_MODULES[module])
    for part in path:
        owner = getattr(owner, part)
    whole = getattr(owner, name)

    def dies(*arguments: Any, **options: Any) -> None:
        if leaving:
            whole(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dies)


def small_files(size: int) -> None:
    """No file of this process grows beyond so many bytes: a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def read_only_at(point: str, run: Path) -> None:
    """Patch this process so that the run folder becomes a read-only file system as it enters a function.

    Nobody else sees that: the mount is in a namespace of this process, and goes with it.
    """
    module, *path, name = point.split(".")
    owner: Any = importlib.import_module(_MODULES[module])
    for part in path:
        owner = getattr(owner, part)
    whole = getattr(owner, name)

    def meets(*arguments: Any, **options: Any) -> Any:
        setattr(owner, name, whole)
        _make_read_only(run)
        return whole(*arguments, **options)

    setattr(owner, name, meets)


def can_mount() -> bool:
    """Whether this machine lets a process have mounts of its own; asked in a child."""
    child = os.fork()
    if child == 0:
        try:
            _own_mounts()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


_NEWNS, _READ_ONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 0x20000, 1, 32, 4096, 16384, 1 << 18  # of sched.h and mount.h


def _own_mounts() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNS) or libc.mount(None, b"/", None, ctypes.c_ulong(_REC | _PRIVATE), None):
        raise OSError(ctypes.get_errno(), "no mounts of its own")


def _make_read_only(folder: Path) -> None:
    _own_mounts()
    libc, path = ctypes.CDLL(None, use_errno=True), os.fsencode(folder)
    for flags in (_BIND, _REMOUNT | _BIND | _READ_ONLY):
        if libc.mount(path, path, None, ctypes.c_ulong(flags), None):
            raise OSError(ctypes.get_errno(), "it cannot be mounted")


def hanging(deaf: bool) -> None:
    """Reading observations hangs; `deaf`: and no signal is heard, as where a network file system is gone."""
    import stormda.pipeline.deadline as module
    from stormda.store.observations import ObservationStore

    module._GRACE = 0.3

    def hangs(*arguments: Any, **options: Any) -> None:
        if deaf:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        sleep(60)

    ObservationStore.read = hangs  # type: ignore[assignment,method-assign]


def slow_sampling() -> None:
    """An analysis takes long."""
    from stormda.assimilation import methods

    whole = methods.analysis

    def slow(*arguments: Any, **options: Any) -> Any:
        sleep(20)
        return whole(*arguments, **options)

    methods.analysis = slow
