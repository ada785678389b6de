"""How far a run has come, for people: which stages are done, by what lies in its folder (`pipeline/layout.py`)."""

__all__ = ["describe", "is_run"]

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from stormda.config import ArchiveConfig, ObservationsConfig, StormConfig
from stormda.errors import InputError, InputMissing, StormdaError
from stormda.nn.weights import load_weights
from stormda.pipeline.facts import Facts
from stormda.pipeline.layout import parse_folder
from stormda.store.archive import Archive
from stormda.store.observations import ObservationStore
from stormda.time import format_time


def is_run(path: Path) -> bool:
    """Whether a stage has left something in a folder."""
    return any((path / name).exists() for name in (*(name for _, name, _ in _STAGES), _TRAINING))


def describe(path: Path) -> tuple[str, Facts]:
    """One row a product: its stage, where it is, whether it is done, what it is."""
    facts = Facts(columns=["stage", "product", "done", "what is there"])
    for stage, name, look in _STAGES:
        for product in _methods(path / name) if name in _BY_METHOD else [path / name]:
            facts.rows.append([stage, product.relative_to(path).as_posix(), *_state(product, look)])
    return "run", facts


def _methods(folder: Path) -> list[Path]:
    """The folder of each method; `folder` itself while there is none."""
    inside = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    return [p for p in inside if not p.name.startswith(".")] or [folder]


def _state(product: Path, look: Callable[[Path], str]) -> tuple[str, str]:
    try:
        return "yes", look(product)
    except InputMissing as error:
        return "no", error.what
    except StormdaError as error:
        return "damaged", error.what


def _archive(path: Path) -> str:
    archive = Archive.open(path)
    channels = ", ".join(c.name for c in archive.channels)
    return f"{len(archive.times)} times, {_span([format_time(t) for t in archive.times])}; {channels}"


def _observations(path: Path) -> str:
    summary = ObservationStore(path).summary()
    if not summary:
        raise InputMissing("there are no observations yet")
    return ", ".join(f"{row['source']}: {row['rows']} values" for row in summary)


def _weights(path: Path) -> str:
    if not path.exists():
        begun = (path.parent / _TRAINING).exists()
        raise InputMissing("begun: stormda train goes on with it" if begun else "there are no weights yet")
    weights = load_weights(path)
    channels = ", ".join(c.name for c in weights.channels)
    return f"{sum(t.numel() for t in weights.tensors.values()):,} parameters; {channels}"


def _cycles(path: Path) -> str:
    """Of the folders `<cycle>[_splitNN]` in it."""
    found = [parse_folder(p.name) for p in path.iterdir() if p.is_dir()] if path.is_dir() else []
    names = [name for name in found if name]
    if not names:
        raise InputMissing("there are none yet")
    cycles = sorted({format_time(cycle) for cycle, _ in names})
    splits = len({split for _, split in names})
    return f"{len(cycles)} cycles, {_span(cycles)}" + (f"; {splits} splits" if splits > 1 else "")


def _scores(path: Path) -> str:
    file = path / "scores.json"
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        return f"made {tree['provenance']['created']}"
    except FileNotFoundError:
        raise InputMissing("there are no scores yet") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"scores.json is truncated or not ours ({error})", file=file) from error


def _verified(path: Path) -> str:
    """Scores of all cycles, or how many wait to be added up."""
    try:
        return _scores(path)
    except InputMissing:
        count = len(list(path.glob("statistics/*.parquet")))
        if not count:
            raise
        return f"statistics of {count} cycles: stormda verify adds them up"


def _span(times: Sequence[str]) -> str:
    return times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}"


_STAGES: tuple[tuple[str, str, Callable[[Path], str]], ...] = (
    ("ingest", ArchiveConfig().path, _archive),
    ("ingest", ObservationsConfig().path, _observations),
    ("train", StormConfig().weights, _weights),
    ("assimilate", "analyses", _cycles),
    ("forecast", "forecasts", _cycles),
    ("verify", "verification", _verified),
    ("twin", "twin", _scores),
)
_BY_METHOD = ("analyses", "forecasts", "verification")
_TRAINING = "training"
