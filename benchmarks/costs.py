"""What an analysis costs: by observations on a global grid, by members on SQG.

    python benchmarks/costs.py observations --json observations.json --counts 100 1000 10000 100000 1000000
    python benchmarks/costs.py members --json members.json --counts 8 32 128 512

`observations`: one member on 721 x 1440 points, 16 noise levels of DPM-Solver++ 2M, observations by bilinear
interpolation at random places. The prior is a Gaussian of 32 patterns, which costs next to nothing: calls of the
denoiser and products with its derivative are counted, so that those of a network can be added. Beside it LETKF-20 with
at most 300 local observations within 1,000 km, at one row in 16, times 16.

`members`: SQG, 64 x 64 x 2, 1,024 observations a level. LETKF at one point in 16, times 16; `storm` (shipped:sqg, jfps,
16 levels) for at most 16 members, beyond that by proportion.

Each measurement is a process of its own: seconds of clock and of processor, peak memory of the process.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.baselines.letkf import letkf
from stormda.assimilation.baselines.localisation import Nearby, Places, nearby
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.guidance.mmps import mmps
from stormda.diffusion.history import History
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.grid import Grid
from stormda.operators.gridpoint import GridPoints
from stormda.operators.interpolate import Affine, weights_of
from stormda.types import Denoise

SHAPE, PATTERNS, LEVELS, MEMBERS = (721, 1440), 32, 16, 20
SHARE = 16  # LETKF: one row or point in so many is analysed
MOST = 16  # members of the network that are measured


@dataclass(frozen=True)
class Cost:
    """One measurement; `projected` says by which factor it was multiplied."""

    what: str
    count: int
    seconds: float
    processor: float
    peak_mib: float
    calls: int = 0
    products: int = 0
    projected: float = 1.0


def main() -> None:
    """All measurements, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("by", choices=["observations", "members"])
    parser.add_argument("--counts", nargs="+", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--what", nargs="+", help="jfps, mmps, letkf; letkf, storm")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help="measure here")
    chosen = parser.parse_args()
    what = chosen.what or {"observations": ["jfps", "mmps", "letkf"], "members": ["letkf", "storm"]}[chosen.by]
    if chosen.one:
        print(json.dumps(vars(_measure(chosen.by, what[0], chosen.counts[0]))))
        return
    rows: list[dict[str, float]] = []
    for name in what:
        for count in chosen.counts:
            command = [sys.executable, __file__, chosen.by, "--one", "--what", name, "--counts", str(count)]
            ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(ended.stdout))
            print(rows[-1], flush=True)
            if chosen.json:
                chosen.json.write_text(json.dumps({"threads": torch.get_num_threads(), "rows": rows}, indent=1) + "\n")


def _measure(by: str, what: str, count: int) -> Cost:
    return {"observations": _observations, "members": _members}[by](what, count)


def _timed(work: Callable[[], object], what: str, count: int, factor: float = 1.0) -> Cost:
    start, processor = time.perf_counter(), time.process_time()
    work()
    spent = factor * (time.perf_counter() - start), factor * (time.process_time() - processor)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(what, count, *(round(s, 3) for s in spent), round(peak), projected=factor)


def _observations(what: str, count: int) -> Cost:
    """One analysis of a member, or of LETKF-20, with so many observations."""
    random, (rows, columns) = np.random.default_rng(0), SHAPE
    grid = Grid(np.linspace(90, -90, rows), np.arange(columns) * 360 / columns)
    latitude = np.rad2deg(np.arcsin(random.uniform(-0.999, 0.999, count)))
    longitude = random.uniform(0, 359.7, count)  # short of the seam
    y, variance = torch.as_tensor(random.standard_normal(count)), torch.full((count,), 0.25, dtype=torch.float64)
    if what == "letkf":
        part = Grid(grid.latitude[::SHARE], grid.longitude)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(MEMBERS, 1, *part.shape, generator=generator)
        hx = torch.randn(MEMBERS, count, generator=generator)
        places = Places(latitude, longitude)
        return _timed(lambda: letkf(x, hx, y, variance, nearby(part, places, 1000.0, 300)), what, count, SHARE)
    index, weight = weights_of(grid, latitude, longitude)
    h = Affine.of(np.zeros(count, dtype=np.int64), index, weight, rows * columns)
    gaussian, tally = _patterns(grid), {"calls": 0, "products": 0}

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        tally["calls"] += 1
        d = gaussian.denoise(x, sigma)
        if d.requires_grad:
            d.register_hook(lambda g: tally.update(products=tally["products"] + 1))
        return d

    def work() -> None:
        solver = {"tolerance": 1e-2, "max_iterations": 20, "linearisations": 3}
        data = h, y, variance
        posterior: Denoise = (
            jfps(denoise, *data, gaussian, **solver)  # type: ignore[arg-type]
            if what == "jfps"
            else mmps(denoise, *data, gaussian=gaussian, **solver)  # type: ignore[arg-type]
        )
        sigmas = karras(0.05, 60.0, LEVELS, 7.0)
        noise = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
        dpm2m(posterior, noise * float(sigmas[0]), sigmas, lambda s: torch.zeros(()))

    return replace(_timed(work, what, count), **tally)


def _patterns(grid: Grid) -> Gaussian:
    """Smooth waves with a red spectrum, and white noise beside them."""
    phi, lam = np.deg2rad(grid.latitude)[:, None], np.deg2rad(grid.longitude)
    waves = [(m, n) for n in range(4) for m in range(4)]
    fields = [
        np.cos(m * phi) * f(n * lam + 0.1 * m) * np.cos(phi) + 1e-3 * np.sin((m + 1) * phi + n)
        for m, n in waves
        for f in (np.cos, np.sin)
    ]
    flat = torch.as_tensor(np.stack(fields).reshape(len(fields), -1)).float()
    modes = torch.linalg.qr(flat.T)[0].T.contiguous()[:PATTERNS]
    energy = grid.shape[0] * grid.shape[1] * 0.5 / (1 + torch.arange(len(modes)).double())
    return Gaussian(torch.zeros(1, *grid.shape), modes, torch.diag(energy / 1e3), 0.05)


def _members(what: str, count: int) -> Cost:
    """One analysis of SQG with so many members."""
    from stormda.nature.sqg import SQG

    points, generator = 64 * 64, torch.Generator().manual_seed(0)
    chosen = torch.cat([torch.randperm(points, generator=generator)[:1024] + k * points for k in (0, 1)])
    grid = SQG().grid()
    y, variance = torch.randn(2048, generator=generator).double(), torch.ones(2048, dtype=torch.float64)
    h = GridPoints(chosen)
    if what == "letkf":
        x = torch.randn(count, 2, *grid.shape, generator=generator)
        latitude, longitude = (f.ravel()[(chosen % points).numpy()] for f in grid.fields)
        step = max(1, min(64, 4096 // count))
        local = [
            Nearby(
                slice(n.points.start + a, n.points.start + a + step), n.numbers[a : a + step], n.weight[a : a + step]
            )
            for n in nearby(grid, Places(latitude, longitude), 8.0)
            for a in range(0, len(n.numbers), SHARE * step)
        ]
        hx = h(x.double())
        done = sum(n.numbers.shape[0] for n in local)
        return _timed(lambda: letkf(x, hx, y, variance, local), what, count, points / done)
    from stormda.assimilation import methods
    from stormda.assimilation.storm_prior import StormPrior
    from stormda.config import GuidanceConfig
    from stormda.pipeline.build import SHIPPED

    prior = StormPrior.load(SHIPPED / "sqg.safetensors")
    few = min(count, MOST)
    settings = methods.Settings(few, 0, few, dpm2m, LEVELS, 7.0, None, None, GuidanceConfig())
    when = np.datetime64("2001-01-01T00", "s")
    past = History(
        torch.randn(prior.frames, 2, *grid.shape, generator=generator),
        torch.full((prior.frames, 2, *grid.shape), 0.1),
        torch.ones(prior.frames, dtype=torch.bool),
    )
    decode = prior.normaliser.decoder(when)
    problem = methods.Problem(when, past, lambda z: h(decode(z)), y, variance)
    return _timed(lambda: methods.analysis("storm", prior, problem, settings), what, count, count / few)


if __name__ == "__main__":
    main()
