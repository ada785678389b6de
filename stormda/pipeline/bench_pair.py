"""Stage `bench pair`: the network of the configuration, with tiles, and the same with softmax over everything, trained.

Size, initial weights, data, draws and number of steps are the same; only which tokens softmax connects differs. Each
is trained as `stormda train` would, without ensembles at validation; then both are compared on the validation period
(`stormda.training.pair`). `plain` is softmax over everything without latents, a few per cent smaller.

How much of the domain a token sees by softmax is the number of tokens in its window, the tile with its halo on both
sides, over that of all tokens.
"""

__all__ = ["PairResult", "pair", "seen_share"]

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from stormda.assimilation.storm_prior import StormPrior
from stormda.config import Config
from stormda.errors import ConfigError
from stormda.nn.embedding import Patches
from stormda.nn.tiles import layer_tiles
from stormda.nn.weights import Weights, load_weights, save_weights
from stormda.pipeline import build
from stormda.pipeline.train import make_job
from stormda.store.publish import write_json
from stormda.training.data import Sampler, statistics
from stormda.training.job import Job, train_storm
from stormda.training.loss import NoiseDensity
from stormda.training.pair import Comparison, compare
from stormda.types import Progress, silent

_CUT = ("tile", "halo", "dilation")


@dataclass(frozen=True)
class PairResult:
    """What was compared with what.

    Args:
        steps: of each training.
        tokens: of the grid.
        seen: share of them that a token sees by softmax, with tiles.
        parameters, seconds: of each network and of its training, by name; those that are finished.
        comparisons: of the tiles with each other network; empty until all are trained.
        file: where it is written; empty until then.
    """

    steps: int
    tokens: int
    seen: float
    parameters: dict[str, int]
    seconds: dict[str, float]
    comparisons: dict[str, Comparison]
    file: str

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = f"{self.steps} steps, {self.tokens} tokens, softmax sees {self.seen:.4f} of them (with tiles)"
        if not self.comparisons:
            return f"{title}; not all are trained, the same command goes on", ["network"], [[n] for n in self.seconds]
        columns = ["tiles beside", "noise", "what", "tiles", "reference", "ratio", "+-"]
        return title, columns, [row for name, c in self.comparisons.items() for row in _lines(name, c)]


def _lines(name: str, c: Comparison) -> list[list[str]]:
    lines = []
    for loss in c.losses:
        what = "loss" if loss.past else "loss without a past"
        noise = "all" if loss.sigma is None else f"{loss.sigma:.3g}"
        pair = [f"{loss.loss:.4f}", f"{loss.reference:.4f}", f"{loss.ratio:.4f}", f"{loss.error:.4f}"]
        lines.append([name, noise, what, *pair])
    for r in c.reach:
        far = [f"{r.far:.3g}", f"{r.far_reference:.3g}", f"{r.share:.2f}", ""]
        near = [f"{r.near:.3g}", f"{r.near_reference:.3g}", f"{r.near_share:.2f}", ""]
        lines += [[name, f"{r.sigma:.3g}", "reach, far", *far], [name, f"{r.sigma:.3g}", "reach, others", *near]]
    return lines


def pair(
    config: Config,
    *,
    steps: int = 2000,
    plain: bool = False,
    samples: int = 64,
    tokens: int = 16,
    dry_run: bool = False,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> PairResult:
    """Train both networks, or go on, and compare them; writes `<run_dir>/bench/pair/<steps>/`.

    Args:
        config: the run; `storm.tile` is not zero. `train.minutes` and `train.patience` do not count.
        steps: of each training.
        plain: a third network, softmax alone.
        samples: of the comparison, a noise level.
        tokens: whose reach is measured.
        dry_run: check everything, train nothing.
        progress: told about steps.
        stop: asked after each step; true ends the call with a checkpoint.

    Raises:
        ConfigError: no tiles, or numbers that are too small.
        InputMissing, InputError: the archive is not there, or too small.
        CheckpointError: a checkpoint in the folder belongs to another job.
    """
    for name, value in (("steps", steps), ("samples", samples), ("tokens", tokens)):
        if value < 1:
            raise ConfigError(f"{name} must be positive", key=f"--{name}")
    size = config.storm.arguments()
    if not config.storm.tile:
        raise ConfigError("the network has no tiles to compare", key="storm.tile", hint="storm.tile=4 storm.halo=2")
    job = make_job(config, build.archive(config))
    settings = replace(job.settings, steps=steps, minutes=None, patience=None)
    job = replace(job, settings=settings, members=0, background_modes=0)
    whole = {key: value for key, value in size.items() if key not in _CUT}
    networks = {"tiles": size, "softmax": whole} | ({"plain": whole | {"latents": 0}} if plain else {})
    count, seen = seen_share(job)
    result = PairResult(steps, count, seen, {}, {}, {}, "")
    if dry_run:
        return result
    folder, trained = config.run / "bench" / "pair" / str(steps), {}
    for name, network in networks.items():
        weights = _trained(replace(job, network=network), folder / name, name, progress, stop)
        if weights is None:
            return result
        trained[name] = folder / name / "weights.safetensors"
        result.parameters[name], result.seconds[name] = weights.card["parameters"], weights.card["seconds"]
    return _compared(job, result, trained, folder, samples, tokens, progress)


def seen_share(job: Job) -> tuple[int, float]:
    """Tokens of the grid, and the share of them in the window of a token, on average."""
    n = job.network
    patches = Patches(job.grid.shape, n["patch"], job.grid.periodic)
    count = patches.count[0] * patches.count[1]
    tiles = layer_tiles(0, patches.count, job.grid.periodic, n["tile"], n["halo"])
    return count, tiles.pairs / count**2


def _trained(job: Job, folder: Path, name: str, progress: Progress, stop: Callable[[], bool]) -> Weights | None:
    """The finished weights of a job; None where it was stopped before."""
    path, told = folder / "weights.safetensors", job.fingerprint() + f"\nsteps: {job.settings.steps}"
    if path.exists() and (found := load_weights(path)).card.get("job") == told:
        return found

    def tell(what: str, done: int, total: int) -> None:
        progress(f"{name}: {what}", done, total)

    done = train_storm(job, folder, card={"job": told}, progress=tell, stop=stop)
    if not done.outcome.finished:
        return None
    weights = replace(done.weights, card=dict(done.weights.card) | {"parameters": done.parameters})
    save_weights(path, weights)
    return weights


def _compared(
    job: Job,
    result: PairResult,
    trained: Mapping[str, Path],
    folder: Path,
    samples: int,
    tokens: int,
    progress: Progress,
) -> PairResult:
    models = {name: StormPrior.load(path).model for name, path in trained.items()}
    known = job.train.sample()
    sampler = Sampler(job.validation, statistics(known, job.roll), job.frames, 0.0, job.error, False)
    density = NoiseDensity(*load_weights(trained["tiles"]).sigma)
    area = torch.as_tensor(job.grid.weights, dtype=torch.float32)
    options: dict[str, Any] = {"samples": samples, "asked": tokens, "seed": job.seed, "progress": progress}
    found = {
        name: compare(models["tiles"], model, sampler, density, area, **options)
        for name, model in models.items()
        if name != "tiles"
    }
    path = folder / "pair.json"
    result = replace(result, comparisons=found, file=str(path))
    write_json(path, asdict(result))
    return result
