"""From measurements to the rates of a machine: the cost model behind `stormda plan`.

    seconds = matrix / a + attention / b + moved / c + weights / d + calls e      kinds: `stormda.pipeline.work`

Rows are what `stormda bench attention`, `frame` and `train` print with `--json`. 1/a to 1/d and e are found by least
squares in relative errors, none below zero, and products no faster than plain ones of the same run, where these were
measured (`scipy.optimize.nnls`); a kind of work that the rows cannot tell from
another one comes out as free, and its time is in the other's rate.
"""

__all__ = ["Fit", "Measured", "fit", "read_measurements"]

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from stormda.config.presets import PRESETS
from stormda.errors import InputError, InputMissing
from stormda.nn.attention import Attention
from stormda.nn.frame import Frame, untrained
from stormda.nn.tiles import layer_tiles
from stormda.pipeline.work import GRADIENTS, TRAINING, Work, layer_work, network_work

_HINT = "give what stormda bench attention, frame or train printed with --json"


@dataclass(frozen=True)
class Measured:
    """One measurement: what was done, and how long it took.

    Args:
        what: in words.
        work: all of it.
        seconds: wall time.
        matrix_rate: FLOP/s of plain products in the same run, where they were measured.
    """

    what: str
    work: Work
    seconds: float
    matrix_rate: float | None = None


@dataclass(frozen=True)
class Fit:
    """Rates of a machine.

    Args:
        inverse: seconds a FLOP of products, a FLOP of attention, a number moved, a weight read, a call.
        rows: measurements that it was fitted to.
        error: median and largest relative error on these.
        matrix_rate: FLOP/s of plain products, where measured.
    """

    inverse: tuple[float, float, float, float, float]
    rows: int
    error: tuple[float, float]
    matrix_rate: float | None = None

    def parts(self, work: Work) -> tuple[float, float, float, float, float]:
        """Seconds of each kind of work."""
        a, b, c, d, e = (value * inverse for value, inverse in zip(work.parts, self.inverse, strict=True))
        return a, b, c, d, e

    def seconds(self, work: Work) -> float:
        """Of all of it, on one rank."""
        return sum(self.parts(work))


def fit(rows: Sequence[Measured]) -> Fit:
    """The rates that explain the rows best; raises InputError where there are fewer than two."""
    if len(rows) < 2:
        raise InputError(f"{len(rows)} measurements do not tell the rates of a machine", key="--fit", hint=_HINT)
    seconds = np.array([row.seconds for row in rows])
    work = np.array([row.work.parts for row in rows])
    scale = np.maximum(work.max(axis=0), 1e-300)  # units of the columns are far apart
    rates = [row.matrix_rate for row in rows if row.matrix_rate]
    least = np.zeros(work.shape[1])
    if rates:  # no product of the network is faster than a plain one
        least[:2] = 1 / max(rates)
    found, _ = nnls(work / scale / seconds[:, None], 1 - work @ least / seconds)
    inverse = found / scale + least
    off = np.abs(work @ inverse / seconds - 1)
    a, b, c, d, e = (float(value) for value in inverse)
    typical = float(np.median(rates)) if rates else None
    return Fit((a, b, c, d, e), len(rows), (float(np.median(off)), float(off.max())), typical)


def read_measurements(paths: Iterable[Path]) -> list[Measured]:
    """The rows of files with one JSON document, or one a line.

    Raises:
        InputMissing: a file is not there.
        InputError: it holds something else.
    """
    rows: list[Measured] = []
    for path in paths:
        if not path.exists():
            raise InputMissing("the measurements are not there", file=path, key="--fit", hint=_HINT)
        try:
            text = path.read_text(encoding="utf-8")
            for document in _documents(text):
                rows += _rows(document)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("the file holds no measurements", file=path, key="--fit", hint=_HINT) from error
    return rows


def _documents(text: str) -> list[Mapping[str, Any]]:
    try:
        whole = json.loads(text)
    except ValueError:
        whole = [json.loads(line) for line in text.splitlines() if line.strip()]
    return list(whole) if isinstance(whole, list) else [whole]


def _rows(document: Mapping[str, Any]) -> list[Measured]:
    if "layer" in document:
        return [_layer(document, row) for row in document["rows"] if row["seconds"] and not row["extrapolated"]]
    size = PRESETS[document["preset"]].arguments() | {"blocks": document["blocks"]}
    height, width = document["shape"]
    frame = Frame((height, width), document["channels"], document["frames"], document["patch"], **size)
    with torch.device("meta"):
        work = network_work(untrained(frame))
    rate = document.get("matrix_gflops")
    matrix_rate = None if rate is None else 1e9 * rate
    name = f"{document['preset']}, {document['blocks']} blocks, {document['tokens']} tokens"
    if "seconds_a_step" in document:
        batch = document["batch"]
        work = work * (TRAINING * batch)
        return [Measured(f"training, {name}, batch {batch}", work, document["seconds_a_step"], matrix_rate)]
    factor = 1.0 + GRADIENTS if document["direction"] == "backward" else 1.0
    return [Measured(f"{document['direction']}, {name}", work * factor, document["seconds"], matrix_rate)]


def _layer(document: Mapping[str, Any], row: Mapping[str, Any]) -> Measured:
    tokens, softmax = row["tokens"], row["kind"] == "softmax"
    rows = max(d for d in range(1, int(tokens**0.5) + 1) if tokens % d == 0)  # as `stormda.nn.measure` lays them out
    shape = rows, tokens // rows
    tiles = None if softmax else layer_tiles(1, shape, (False, True), document["tile"], document["halo"])
    with torch.device("meta"):
        layer = Attention(document["width"], document["heads"], 0 if softmax else document["latents"], tiles)
    work = layer_work(layer, tokens) * (GRADIENTS if row["direction"] == "backward" else 1.0)
    return Measured(f"{row['direction']}, {row['kind']}, {document['preset']}, {tokens} tokens", work, row["seconds"])
