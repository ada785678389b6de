"""Weights: a trained network in one safetensors file that explains itself.

The file holds the tensors of the model, the normaliser and the grid's coordinates; its metadata a card in JSON:
architecture, channels, step, range of noise levels, scores, provenance. A prior needs nothing else: no archive, no
configuration. A large tensor that is the beginning of another one (the EOFs of the guess and of the background errors)
is stored once; the card's `same` says which rows of which.
"""

__all__ = ["Weights", "load_weights", "save_weights"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stormda.errors import CheckpointError, ConfigError, InputError, InputMissing
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.projection import Projection
from stormda.store.publish import write_bytes
from stormda.time import parse_duration
from stormda.variables import Channel

_FORMAT = "stormda-weights-1"
_LARGE = 1 << 14  # numbers of a tensor that is worth looking for among the others
_HINT = "use weights that stormda train wrote"


@dataclass(frozen=True, eq=False)
class Weights:
    """A trained network and all that belongs to it.

    Args:
        tensors: the state of the model, by name.
        normaliser, grid: of the fields that it was trained on.
        step: distance of history frames.
        architecture: arguments of `Storm`.
        sigma: smallest and largest noise level of its training.
        card: scores, provenance and whatever else is worth knowing.
    """

    tensors: Mapping[str, Tensor]
    normaliser: Normaliser
    grid: Grid
    step: np.timedelta64
    architecture: Mapping[str, Any]
    sigma: tuple[float, float]
    card: Mapping[str, Any]

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels of the state."""
        return self.normaliser.channels


def save_weights(path: Path, weights: Weights) -> None:
    """Publish weights; raises OutputError."""
    grid = weights.grid
    tensors = {f"model.{name}": value.contiguous() for name, value in weights.tensors.items()}
    arrays = weights.normaliser.arrays() | {"latitude": grid.latitude, "longitude": grid.longitude}
    if grid.projection is not None:
        arrays |= {"y": grid.projection.y, "x": grid.projection.x}
    tensors |= {f"data.{name}": torch.as_tensor(np.array(value)) for name, value in arrays.items()}
    same = _same(tensors)
    card = {
        "format": _FORMAT,
        "channels": [c.name for c in weights.channels],
        "periodic": list(grid.periodic),
        "plane": grid.plane,
        "projection": None if grid.projection is None else dict(grid.projection.mapping),
        "step_seconds": int(weights.step / np.timedelta64(1, "s")),
        "architecture": dict(weights.architecture),
        "sigma": list(weights.sigma),
        "card": dict(weights.card),
        "same": same,
    }
    stored = {name: value for name, value in tensors.items() if name not in same}
    write_bytes(path, save(stored, metadata={"stormda": json.dumps(card)}))


def _same(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, int]]:
    """Large tensors that are the first rows of another one: its name, and how many."""
    large = sorted(
        (name for name, t in tensors.items() if t.numel() >= _LARGE), key=lambda name: -tensors[name].numel()
    )
    found: dict[str, tuple[str, int]] = {}
    for i, name in enumerate(large):
        rows = len(tensors[name])
        for other in large[:i]:
            alike = tensors[other].dtype == tensors[name].dtype and other not in found
            if alike and torch.equal(tensors[other][:rows], tensors[name]):
                found[name] = other, rows
                break
    return found


def load_weights(path: Path, without: str | None = None) -> Weights:
    """Read what `save_weights` wrote.

    Args:
        path: the file.
        without: tensors whose names begin so are left where they are; None: all are read.

    Raises:
        InputMissing: no such file.
        CheckpointError: damaged, or not weights of stormda.
    """
    if not path.exists():
        raise InputMissing(
            "the weights are not there", file=path, key="storm.weights", hint="stormda train writes them"
        )
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {})["stormda"])
            left = "\0" if without is None else f"model.{without}"
            tensors = {name: file.get_tensor(name) for name in file.keys() if not name.startswith(left)}  # noqa: SIM118
        same = {name: of for name, of in card.get("same", {}).items() if not name.startswith(left)}
        tensors |= {name: tensors[other][:rows] for name, (other, rows) in same.items()}
        if card["format"] != _FORMAT:
            raise CheckpointError(f"weights of format {card['format']}, not {_FORMAT}", file=path, hint=_HINT)
        data = {name.removeprefix("data."): t.numpy() for name, t in tensors.items() if name.startswith("data.")}
        model = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        if bad := [name for name, t in tensors.items() if not bool(torch.isfinite(t).all())]:
            raise CheckpointError(f"the weights hold numbers that are not finite ({bad[0]})", file=path, hint=_HINT)
        periodic, sigma = card["periodic"], card["sigma"]
        if card.get("projection"):
            grid = Grid.projected(Projection(card["projection"], data["y"], data["x"]))
        else:
            grid = Grid(data["latitude"], data["longitude"], (periodic[0], periodic[1]), card["plane"])
        normaliser = Normaliser.from_arrays(data, tuple(Channel.parse(name) for name in card["channels"]))
        step = parse_duration(f"{card['step_seconds']}s")
        return Weights(model, normaliser, grid, step, card["architecture"], (sigma[0], sigma[1]), card["card"])
    except (SafetensorError, KeyError, ValueError, OSError, TypeError, ConfigError) as error:
        raise CheckpointError(
            "the file is damaged or does not hold weights of stormda", file=path, hint=_HINT
        ) from error
    except InputError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"the weights do not fit together: {error.what}", file=path, hint=_HINT) from error
