"""Stage `bench copy`: whether values travel half the domain, by tiles with latents, by softmax, and by tiles alone.

Three networks of one size learn the far copy (`stormda.training.copying`) from the same draws. Tiles with latents and
softmax over everything must solve it; tiles alone cannot, where the domain is wide enough, and show that the task tests
what it says.
"""

__all__ = ["CopyResult", "Row", "copy"]

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from stormda.errors import ConfigError
from stormda.store.publish import write_json
from stormda.training.copying import SOLVED, blind, far_copy
from stormda.types import Progress, silent


@dataclass(frozen=True)
class Row:
    """One network: the error of its copies on new draws, of a variance of 1, and after how many steps below `SOLVED`.

    Args:
        solved: the first checked step with an error below `SOLVED`; None: never.
        possible: false where it can only fail.
        finished: false if it was stopped and can go on.
    """

    attention: str
    error: float | None
    solved: int | None
    possible: bool
    steps: int
    seconds: float
    finished: bool


@dataclass(frozen=True)
class CopyResult:
    """The task and the rows."""

    side: int
    pairs: int
    seen: float
    rows: tuple[Row, ...]

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = (
            f"far copy of {self.pairs} of {self.side**2} tokens, softmax in tiles sees {self.seen:.4f} of them; "
            f"knowing nothing: 1, solved: {SOLVED:g}"
        )
        return (
            title,
            ["attention", "error", f"below {SOLVED:g} at step", "steps", "s", ""],
            [_texts(r) for r in self.rows],
        )


def _texts(row: Row) -> list[str]:
    note = "" if row.possible else "cannot"
    solved = "" if row.solved is None else str(row.solved)
    error = "" if row.error is None else f"{row.error:.4f}"
    state = note if row.finished else "stopped, the same command goes on"
    return [row.attention, error, solved, str(row.steps), f"{row.seconds:.0f}", state]


def copy(
    folder: Path,
    *,
    side: int = 8,
    pairs: int = 1,
    tile: int = 2,
    halo: int = 0,
    latents: int = 16,
    width: int = 32,
    blocks: int = 2,
    heads: int = 4,
    steps: int = 1600,
    seed: int = 0,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> CopyResult:
    """Train three networks on the far copy, or go on; writes checkpoints, logs and `copy.json` in `folder`.

    Args:
        folder: for what is written.
        side: tokens along an axis, even.
        pairs: sources and targets.
        tile, halo, latents, width, blocks, heads: of the networks.
        steps, seed: of the training.
        progress: told about steps.
        stop: asked after each step; true ends the call with a checkpoint.

    Raises:
        ConfigError: a side that is odd, a number that is too small, or a network that cannot be built.
        CheckpointError: a checkpoint in the folder belongs to another task.
    """
    positive = {"pairs": pairs, "tile": tile, "latents": latents, "blocks": blocks, "heads": heads, "steps": steps}
    for name, value in positive.items():
        if value < 1:
            raise ConfigError(f"{name} must be positive", key=f"--{name}")
    if side < 4 or side % 2:
        raise ConfigError(f"a side of {side} has no middle", key="--side", hint="an even number from 4 on")
    if pairs > side**2:
        raise ConfigError(f"{pairs} pairs are more than {side**2} tokens", key="--pairs")
    size = {"width": width, "blocks": blocks, "heads": heads, "latents": latents}
    cut = {"tile": tile, "halo": halo}
    networks = {"tiles and latents": size | cut, "softmax": size | {"latents": 0}, "tiles": size | cut | {"latents": 0}}
    rows: list[Row] = []
    for name, network in networks.items():

        def tell(what: str, done: int, total: int, name: str = name) -> None:
            progress(f"{name}: {what}", done, total)

        place = folder / name.replace(" ", "-")
        try:
            out = far_copy(side, network, place, pairs=pairs, steps=steps, seed=seed, progress=tell, stop=stop)
        except ValueError as error:
            raise ConfigError(str(error), key="--width") from error
        solved = [int(row["step"]) for row in out.curve if row["loss"] < SOLVED]
        possible = network["latents"] > 0 or not blind(side, network)
        last = out.curve[-1]["loss"] if out.curve else None
        rows.append(Row(name, last, min(solved, default=None), possible, out.step, round(out.seconds, 1), out.finished))
        if not out.finished:
            break
    window = min(side, tile + 2 * halo)
    result = CopyResult(side, pairs, (window / side) ** 2, tuple(rows))
    write_json(folder / "copy.json", asdict(result))
    return result
