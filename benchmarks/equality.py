"""Do several processes give what one gives? Every shape of the mesh beside one process, as a table.

    python benchmarks/equality.py --ranks 2 3 4 8

Processes of this machine meet through Gloo, and divide members (`ensemble`), one member's fields (`tile`, rows x
columns) and weights (`shard`), or several of these. The network is untrained, with an output that is not zero, around a
guess with a background error covariance, on a globe with poles; observations lie around one place. Columns:

    call      a call of the denoiser for each member, float32: |difference| / |answer|      at most 1e-5
    float64   a whole draw from the posterior, a member for each rank along `ensemble`,     at most 1e-10
    float32   in batches of one: largest difference over the field's standard deviation     at most 1e-3
    bits      whether these members of float32 have the same bits                           where fields are not cut
    training  50 steps: largest relative difference of the curve. Fields are not cut in `stormda train`: a plain loop
              over a squared error, with the sum of all parts' gradients, stands for it     at most 1e-4

`--only draws` or `--only training` leaves the rest out. Ends with exit code 1 where a limit is passed.
"""

import argparse
import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from stormda.assimilation.ensemble import draw
from stormda.assimilation.methods import Problem
from stormda.assimilation.posterior import guided
from stormda.assimilation.storm_prior import StormPrior
from stormda.config import GuidanceConfig
from stormda.diffusion.background import BackgroundError
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.diffusion.history import History
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.distributed.mesh import Shape, device_mesh
from stormda.distributed.parallelize import Held, Spread
from stormda.distributed.tiled import Tiled
from stormda.distributed.world import ALONE, World
from stormda.grid import Grid
from stormda.layout import WHOLE, Layout
from stormda.nn.storm import Storm
from stormda.nn.weights import Weights, save_weights
from stormda.normaliser import Normaliser
from stormda.operators.interpolate import Affine, weights_of
from stormda.operators.part import owned, part_operator
from stormda.operators.stack import Stack
from stormda.training.data import Series
from stormda.training.job import Job, train_storm
from stormda.training.loop import Settings
from stormda.training.rollout import Rollout
from stormda.variables import Channel

SHAPE, CHANNELS, FRAMES, MODES, MEMBERS, STEPS = (16, 32), 3, 2, 6, 8, 50
TIME, STEP = np.datetime64("2010-03-04T06", "s"), np.timedelta64(21600, "s")
GRID = Grid.regular(np.linspace(84.375, -84.375, 16), np.arange(32) * 11.25)
SIZE: dict[str, Any] = {"patch": 2, "width": 16, "blocks": 2, "heads": 2, "latents": 4, "tile": 3, "halo": 1}
LIMITS = {"call": 1e-5, "float64": 1e-10, "float32": 1e-3, "training": 1e-4}


class Case(NamedTuple):
    """A mesh: ranks along `ensemble`, parts of a member (rows x columns), ranks along `shard`."""

    ensemble: int = 1
    parts: tuple[int, int] = (1, 1)
    shard: int = 1

    @property
    def shape(self) -> Shape:
        """As the mesh has it."""
        return Shape(self.ensemble, math.prod(self.parts), self.shard)

    def __str__(self) -> str:
        return f"{self.ensemble} x {self.parts[0]}x{self.parts[1]} x {self.shard}"


CASES = {
    2: [Case(2), Case(1, (2, 1)), Case(1, (1, 2)), Case(shard=2)],
    3: [Case(3), Case(1, (3, 1)), Case(1, (1, 3)), Case(shard=3)],
    4: [Case(4), Case(1, (2, 2)), Case(1, (4, 1)), Case(1, (1, 4)), Case(shard=4), Case(2, (1, 2)), Case(2, shard=2),
        Case(1, (2, 1), 2)],
    8: [Case(1, (2, 4)), Case(2, (1, 2), 2), Case(1, (4, 2)), Case(1, (1, 8)), Case(8), Case(2, (2, 2)), Case(shard=8)],
}  # fmt: skip
ONE = Case()


def main() -> None:
    """Read the command line, run one process, then each number of them; print the table."""
    parser = argparse.ArgumentParser(description="One process beside several, for each shape of the mesh.")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4, 8], choices=list(CASES))
    parser.add_argument("--only", choices=["draws", "training"])
    given = parser.parse_args()
    only = given.only or ""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # of a linear solver that is stopped early
    print("| ranks | ensemble x tile x shard | call | float64 | float32 | bits | training |")
    print("|---|---|---|---|---|---|---|")
    passed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(folder / "weights.safetensors")
        alone = measured(ONE, folder, ALONE, only)
        if only != "draws":
            alone["training of parts"] = parts_trained(WHOLE, Shape(), None)
        for count in given.ranks:
            for case in CASES[count]:
                mp.start_processes(_rank, (case, folder, only), nprocs=count, start_method="fork")
                row = compared(case, alone, torch.load(folder / f"{case}", weights_only=False))
                print(f"| {count} | {case} | {' | '.join(map(_cell, row.values()))} |", flush=True)
                passed |= any(value > LIMITS.get(name, math.inf) for name, value in row.items())
                passed |= row["bits"] is False and case.parts == (1, 1)
    sys.exit(1 if passed else 0)


def _cell(value: float | bool) -> str:
    if isinstance(value, bool):
        return "same" if value else "others"
    return "" if math.isnan(value) else "0" if value == 0 else f"{value:.1e}"


def _rank(rank: int, case: Case, folder: Path, only: str) -> None:
    """One of the processes; the first one leaves what came out."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    where = f"file://{folder}/meeting {case}"
    dist.init_process_group("gloo", where, rank=rank, world_size=case.shape.size, timeout=timedelta(minutes=30))
    found = measured(case, folder, World.of(device_mesh(case.shape, "cpu")), only)
    if rank == 0:
        torch.save(found, folder / f"{case}")
    dist.barrier()
    dist.destroy_process_group()


def measured(case: Case, folder: Path, world: World, only: str) -> dict[str, Any]:
    """Everything that is compared, whole, on every process."""
    path, mesh = folder / "weights.safetensors", world.mesh
    layout: Layout = WHOLE
    if mesh is not None and case.shape.tile > 1:
        layout = Tiled(SHAPE, (2, 2), case.parts, mesh["tile"].get_group())
    members = MEMBERS if world is ALONE else world.size
    mine, found = world.share(members, 1), {}
    for dtype in (torch.float32, torch.float64) if only != "training" else ():
        prior = StormPrior.load(path, blocks=Held(mesh) if mesh is not None and case.shard > 1 else None)
        assert prior.background is not None
        prior.model.to(dtype)
        prior.background.to(dtype)
        own = prior if layout is WHOLE else prior.part(layout)
        if dtype == torch.float32:
            found["call"] = world.gather(layout.gather(called(own, layout, mine), SHAPE))
        found[str(dtype).removeprefix("torch.")] = world.gather(layout.gather(sampled(own, layout, mine), SHAPE))
    if only != "draws":
        found["training"] = parts_trained(layout, case.shape, world) if layout is not WHOLE else trained(world, folder)
    return found


def compared(case: Case, alone: dict[str, Any], several: dict[str, Any]) -> dict[str, float | bool]:
    """How far apart they are, by column."""
    row: dict[str, float | bool] = dict.fromkeys(("call", "float64", "float32", "bits", "training"), math.nan)
    for name in several.keys() & {"call", "float64", "float32"}:
        one, other = alone[name][: len(several[name])], several[name]
        assert bool(torch.isfinite(one).all()) and one.shape == other.shape == (len(one), CHANNELS, *SHAPE)
        sd = one.std(dim=(0, 2, 3), keepdim=True)
        row[name] = float((other - one).norm() / one.norm() if name == "call" else ((other - one).abs() / sd).max())
        if name == "float32":
            row["bits"] = torch.equal(one, other)
    if "training" in several:
        curve = alone["training" if case.shape.tile == 1 else "training of parts"]
        row["training"] = float(((several["training"] - curve) / curve).abs().max())
    return row


def written(path: Path) -> None:
    """Weights of a network around a guess, with errors of its backgrounds."""
    torch.manual_seed(0)
    architecture: dict[str, Any] = SIZE | {"frames": FRAMES, "poles": (True, True), "vectors": (1, 2)}
    network = Storm(CHANNELS, SHAPE, torch.randn(2, *SHAPE), periodic=GRID.periodic, **architecture)
    torch.nn.init.normal_(network.head.weight, std=0.02)
    e = torch.linalg.qr(torch.randn(CHANNELS * math.prod(SHAPE), MODES))[0].T.contiguous()
    one, energy = torch.ones(CHANNELS, *SHAPE), torch.linspace(90.0, 20.0, MODES)
    r, one_step = torch.full((FRAMES, CHANNELS, *SHAPE), 0.8), 0.8 * torch.eye(MODES)
    linear = LinearGuess(1.2 * one, r, e, energy, one_step, 0.36 * torch.diag(energy), one)
    levels = torch.tensor([0.1, 10.0])
    error = BackgroundError(linear, torch.zeros(5), levels, torch.ones(2), torch.ones(2), torch.tensor(1.1))
    tensors = EDM(network, linear).state_dict()
    tensors |= {f"background.{name}": value for name, value in error.state_dict().items()}
    channels = tuple(map(Channel.parse, ("t850", "u850", "v850")))
    normaliser = Normaliser(channels, np.zeros((1, CHANNELS, *SHAPE)), np.ones(CHANNELS), 0, 0)
    kept = {name: value.clone() for name, value in tensors.items()}
    save_weights(path, Weights(kept, normaliser, GRID, STEP, architecture, (0.02, 40.0), {}))


def history(dtype: torch.dtype) -> History:
    past = torch.randn(FRAMES, CHANNELS, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return History(past.to(dtype), torch.full_like(past, 0.3, dtype=dtype), torch.ones(FRAMES, dtype=torch.bool))


def called(prior: StormPrior, layout: Layout, members: Iterable[int]) -> Tensor:
    """The denoiser's answers to fields that are the members' own, one at a time."""
    rows, columns = layout.part(SHAPE)
    denoise = prior.denoiser(history(torch.float32).part(layout), TIME)
    made = [torch.randn(1, CHANNELS, *SHAPE, generator=torch.Generator().manual_seed(9 + m)) for m in members]
    with torch.no_grad():
        return torch.cat([denoise(x[..., rows, columns].clone(), torch.tensor(1.0)) for x in made])


def problem(dtype: torch.dtype, layout: Layout, count: int = 60) -> Problem:
    """Temperatures, most of them around one place, and its past."""
    g = np.random.default_rng(1)
    latitude = np.clip(30 + 25 * g.standard_normal(count), -80, 80)
    longitude = np.where(np.arange(count) % 2 == 0, 180.0, 0.0) + 20 * g.standard_normal(count)
    index, weight = weights_of(GRID, latitude, longitude)
    at = Affine.of(np.arange(count) % CHANNELS, index, weight, math.prod(SHAPE))
    h = Stack(((at, np.arange(count)),), torch.zeros(count, dtype=torch.float64))
    y, variance = torch.as_tensor(1.5 * g.standard_normal(count)), torch.full((count,), 0.25, dtype=torch.float64)
    past = history(dtype)
    if layout is WHOLE:
        return Problem(TIME, past, h, y, variance)
    own = owned(h, layout, SHAPE)
    rows = torch.as_tensor(own)
    operator = part_operator(h.subset(own), layout, SHAPE)
    return Problem(TIME, past.part(layout), operator, y[rows], variance[rows])


def sampled(prior: StormPrior, layout: Layout, members: range) -> Tensor:
    """Members of a posterior, in batches of one, with products of the network's derivative at the last levels."""
    dtype = prior.model.guess.modes.dtype
    how = GuidanceConfig(kind="mmps", derivative_below=2.0, max_iterations=3)
    posterior = guided(prior, problem(dtype, layout), how, None, layout)
    options: dict[str, Any] = {"seed": 3, "stream": 4, "batch": 1, "of": MEMBERS, "dtype": dtype, "layout": layout}
    return draw(dpm2m, posterior, (CHANNELS, *SHAPE), karras(0.05, 40.0, 3), members, **options)


def trained(world: World, folder: Path) -> Tensor:
    """Losses of `train_storm`: a wave that moves a point a step, a third of a batch with pasts of its own."""
    points = 16
    g = torch.Generator().manual_seed(0)

    def series(count: int) -> Series:
        places = (torch.arange(points)[None] - torch.arange(count)[:, None]) * 2 * torch.pi / points
        fields = torch.sin(places) + 0.1 * torch.randn(count, points, generator=g)
        times = np.datetime64("2001-01-01T00", "s") + STEP * np.arange(count)
        return Series(fields[:, None, None], times, STEP, np.arange(count))

    grid = Grid(np.zeros(1), np.arange(points) * 360 / points, periodic=(False, True), plane=True)
    normaliser = Normaliser((Channel.parse("x0"),), np.zeros((1, 1, 1, points)), np.ones(1), 0, 0)
    size: dict[str, Any] = {"patch": 1, "width": 16, "blocks": 2, "heads": 2, "latents": 2}
    settings = Settings(STEPS, learning_rate=1e-2, warm_up=5, average=0.9, validate_every=25, checkpoint_every=1e9)
    job = Job(series(60), series(4), normaliser, grid, size, settings, batch=24, members=0, seed=5,
              rollout=Rollout(1, 0.8, 1 / 3))  # fmt: skip
    where = folder / "x".join(map(str, world.mesh.shape if world.mesh is not None else "1"))
    curve = train_storm(job, where, **({} if world.mesh is None else {"team": Spread(world.mesh)})).outcome.curve
    return torch.tensor([[row["train"], row["loss"]] for row in curve])


def parts_trained(layout: Layout, shape: Shape, world: World | None) -> Tensor:
    """Losses of a plain loop over the mean squared error of the network: samples along `ensemble`, fields in parts."""
    torch.manual_seed(1)
    batch, (rows, columns) = 2, layout.part(SHAPE)
    team = None if world is None or world.mesh is None else Spread(world.mesh)
    cut: Callable[..., Any] = torch.nn.Identity() if team is None else team.spread
    made: dict[str, Any] = {} if team is None else {"block": team.block}
    net = Storm(1, SHAPE, torch.randn(2, *SHAPE), periodic=(False, True), frames=1, **SIZE, **made)
    called = cut(net) if shape.shard > 1 else net
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    mine = slice(world.rank if world else 0, None, world.size if world else 1)
    losses = []
    for step in range(STEPS):
        g = torch.Generator().manual_seed(step)
        x, noise = (torch.randn(batch, 1, *SHAPE, generator=g) for _ in range(2))
        x = (x + x.roll(1, -1) + x.roll(1, -2))[mine, ..., rows, columns]
        state = torch.stack([x + noise[mine, ..., rows, columns]] * 5, dim=1)
        n = len(x)
        told = torch.zeros(n), x[:, None] * 0.9, torch.full_like(x, 0.3)[:, None]
        f = called(state, *told, torch.ones(n, 1, dtype=torch.bool), torch.zeros(n, 4), layout=layout)
        loss = (f - x).square().sum() / (batch * math.prod(SHAPE))
        optimiser.zero_grad()
        # What `cut` averages over ensemble and shard is to be the sum over ensemble; shards see the same samples.
        (loss * (shape.ensemble if shape.shard > 1 else 1)).backward()
        for p in net.parameters():
            if p.grad is not None and world is not None:
                _sum_gradient(p.grad, layout, world if shape.shard == 1 else None)
        optimiser.step()
        total = layout.sum(loss.detach())
        losses.append(float(total if world is None else world.sum(total)))
    return torch.tensor(losses)


def _sum_gradient(gradient: Tensor, layout: Layout, world: World | None) -> None:
    """Over the parts, and over `ensemble` where nothing else has done it."""
    own = getattr(gradient, "to_local", lambda: gradient)()
    own.copy_(layout.sum(own))
    if world is not None:
        own.copy_(world.sum(own))


if __name__ == "__main__":
    main()
