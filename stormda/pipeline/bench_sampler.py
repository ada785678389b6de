"""Stage `bench sampler`: what each guidance, sampler and number of steps is worth, without any network.

A ring of points with a Gaussian prior whose spectrum is red, N points observed, from 1 % of them to all, with an error
variance R from 1e-4 to 1e2 of the prior's. The posterior is known in closed form; what comes out of the sampler is
found exactly too (`stormda.diffusion.propagate`), in float64 and with a converged linear solve, so what differs is the
sampler's own error. Levels are those of an analysis: from five standard deviations of the largest pattern down to a
fifth of the observation error. Over all problems:

    spread         sqrt(trace of the covariance / trace of the posterior's), least and largest
    point          the same at a single point: least and largest
    mean           distance of the means, in standard deviations of the posterior (root of the mean square)
    evaluations    calls of the denoiser; products with its derivative, where it is needed, are counted beside them

DPS is not affine (its steps have a given length): its rows are estimates from 512 members, good to some per cent. `*`
marks the front: no row has a smaller largest error of spread or mean for as many calls and products, or fewer.
"""

__all__ = ["Row", "SamplerResult", "sampler"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.dps import dps
from stormda.diffusion.guidance.increment import Solver
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.guidance.mmps import mmps
from stormda.diffusion.guidance.sda import sda
from stormda.diffusion.noise import karras
from stormda.diffusion.propagate import propagate
from stormda.diffusion.sample.langevin import Langevin
from stormda.errors import ConfigError
from stormda.pipeline.build import SAMPLERS
from stormda.random import normal, stream, uniform
from stormda.store.publish import write_bytes
from stormda.types import Denoise, Mapping2, Progress, silent
from stormda.verification.plots import COLOURS, figure, png

SHARES = (0.01, 0.05, 0.2, 0.5, 1.0)
VARIANCES = (1e-4, 1e-2, 1.0, 1e2)
_MEMBERS = 512  # of DPS
_TALLEST = 10.0  # of the picture
_SCALE = 4.0  # wave number beyond which the spectrum falls
_SOLVER: Solver = {"tolerance": 1e-9, "max_iterations": 6}  # with a preconditioner that is exact here: converged
# guidance, sampler, corrections, calls of the denoiser
_RUNS: tuple[tuple[str, str, int, tuple[int, ...]], ...] = (
    ("jfps", "dpm2m", 0, (8, 16, 24, 32)),
    ("jfps", "dpm2mx", 0, (8, 16, 24, 32)),
    ("jfps", "heun", 0, (16, 32, 64)),
    ("jfps", "ancestral", 0, (16, 64)),
    ("jfps", "heun", 1, (32,)),
    ("jfps", "ancestral", 1, (32,)),
    ("mmps", "dpm2m", 0, (16,)),
    ("sda 0.1", "dpm2m", 0, (16,)),
    ("sda 1", "dpm2m", 0, (16,)),
    ("dps 1", "dpm2m", 0, (16,)),
)


@dataclass(frozen=True)
class Row:
    """A guidance with a sampler at a number of steps, over all problems; see the module."""

    guidance: str
    sampler: str
    corrections: int
    steps: int
    evaluations: int
    products: int
    spread: tuple[float, float]
    point: tuple[float, float]
    mean: float
    exact: bool
    front: bool = False

    @property
    def error(self) -> float:
        """The largest error: of the spread, as a share, or of the mean, in standard deviations."""
        worst = float(np.max([abs(self.spread[0] - 1), abs(self.spread[1] - 1), self.mean]))
        return worst if np.isfinite(worst) else float("inf")

    @property
    def cost(self) -> int:
        """Calls and products."""
        return self.evaluations + self.products


def _range(ends: tuple[float, float], exact: bool) -> str:
    if ends[1] > 100:
        return f"{ends[0]:.2g}..{ends[1]:.0e}"
    return f"{ends[0]:.3f}..{ends[1]:.3f}" if exact else f"about {ends[0]:.2g}..{ends[1]:.2g}"


@dataclass(frozen=True)
class SamplerResult:
    """All rows, and the picture where one was asked for."""

    dimension: int
    shares: tuple[float, ...]
    variances: tuple[float, ...]
    rows: tuple[Row, ...]
    picture: str | None = None

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people."""
        title = (
            f"ring of {self.dimension} points, {len(self.shares)} networks of {min(self.shares):.0%} to "
            f"{max(self.shares):.0%}, R from {min(self.variances):g} to {max(self.variances):g}; spread against the "
            f"exact posterior, {len(self.shares) * len(self.variances)} problems"
        )
        columns = ["guidance", "sampler", "corrections", "steps", "calls", "products", "spread", "point", "mean", ""]
        lines = [
            [r.guidance, r.sampler, str(r.corrections or ""), str(r.steps), str(r.evaluations), str(r.products or "")]
            + [_range(r.spread, r.exact), _range(r.point, r.exact), f"{r.mean:.3g}", "*" if r.front else ""]
            for r in self.rows
        ]
        return title, columns, lines


@dataclass(frozen=True, eq=False)
class _Problem:
    prior: Gaussian
    operator: Mapping2
    y: Tensor
    variance: Tensor
    error: float
    mean: Tensor
    covariance: Tensor


def sampler(
    dimension: int = 100,
    *,
    kinds: Sequence[str] = (),
    shares: Sequence[float] = SHARES,
    variances: Sequence[float] = VARIANCES,
    picture: Path | None = None,
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress = silent,
) -> SamplerResult:
    """Measure every row, or those of some samplers.

    Args:
        dimension: points of the ring.
        kinds: samplers; none: all.
        shares: of the points that are observed, a network each.
        variances: of the observation errors.
        picture: a PNG file of cost against accuracy.
        seed: of the observed points and values.
        dry_run: measure nothing.
        progress: told about rows.

    Raises:
        ConfigError: an unknown sampler, a ring too small or too large.
        OutputError: the picture cannot be written.
    """
    if not 20 <= dimension <= 1000:
        raise ConfigError(f"{dimension} points", key="--dimension", hint="20 to 1000; the cost grows with the cube")
    for kind in kinds:
        if kind not in SAMPLERS:
            raise ConfigError(f"unknown sampler '{kind}'", key="--sampler", hint=f"one of {', '.join(SAMPLERS)}")
    runs = [
        (guidance, kind, corrections, calls)
        for guidance, kind, corrections, counts in _RUNS
        for calls in counts
        if kind in (kinds or SAMPLERS)
    ]
    problems = [] if dry_run else _problems(dimension, shares, variances, seed)
    rows = []
    for number, (guidance, kind, corrections, calls) in enumerate(runs if problems else []):
        progress(f"{guidance} {kind}", number, len(runs))
        rows.append(_row(problems, guidance, kind, corrections, calls, seed))
    progress("bench sampler", len(runs), len(runs))
    result = SamplerResult(
        dimension, tuple(shares), tuple(variances), _front(rows), None if picture is None else str(picture)
    )
    if picture is not None and rows:
        write_bytes(picture, _drawn(result.rows))
    return result


def _problems(n: int, shares: Sequence[float], variances: Sequence[float], seed: int) -> list[_Problem]:
    k = np.fft.fftfreq(n, 1 / n)
    power = (1 + (k / _SCALE) ** 2) ** -2.0
    row = torch.as_tensor(np.fft.ifft(power / power.mean()).real)  # covariance with point 0; 1 there
    index = torch.arange(n)
    shape, eye = (1, 1, n), torch.eye(n, dtype=torch.float64)
    mean = torch.sin(2 * torch.pi * index.double() / n).view(shape)
    prior = Gaussian(mean, eye, row[(index[:, None] - index) % n])
    order = uniform(seed, stream("bench sampler", "points"), torch.zeros(1, dtype=torch.int64), index)[0].argsort()
    found = []
    for share in shares:
        points = order[: max(1, round(share * n))].sort().values
        y = normal(seed, stream("bench sampler", "values"), torch.zeros(1, dtype=torch.int64), points)[0]
        for r in variances:
            variance = torch.full((len(points),), r, dtype=torch.float64)
            operator = _at(points)
            m, p = prior.posterior(operator, y, variance)
            found.append(_Problem(prior, operator, y, variance, r**0.5, m.flatten(), p))
    return found


def _at(points: Tensor) -> Mapping2:
    return lambda x: x.flatten(1)[:, points]


class _Counted:
    """A denoiser that counts its calls and the products with its derivative."""

    def __init__(self, denoise: Denoise) -> None:
        self.denoise, self.calls, self.products = denoise, 0, 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        d = self.denoise(x, sigma)
        if d.requires_grad:
            d.register_hook(self._product)  # type: ignore[no-untyped-call]
        return d

    def _product(self, gradient: Tensor) -> None:
        self.products += 1


def _posterior(guidance: str, denoise: Denoise, p: _Problem) -> Denoise:
    name, _, number = guidance.partition(" ")
    data = (p.operator, p.y, p.variance)
    made: dict[str, Callable[[], Denoise]] = {
        "jfps": lambda: jfps(denoise, *data, p.prior, **_SOLVER),
        "mmps": lambda: mmps(denoise, *data, gaussian=p.prior, **_SOLVER),
        "sda": lambda: sda(denoise, *data, gamma=float(number)),
        "dps": lambda: dps(denoise, *data, zeta=float(number)),
    }
    return made[name]()


def _row(problems: list[_Problem], guidance: str, kind: str, corrections: int, calls: int, seed: int) -> Row:
    per_step = corrections + (2 if kind == "heun" else 1)
    steps = 1 + (calls - 1) // per_step
    exact = not guidance.startswith("dps")
    spreads, lows, highs, means, counts, products = [], [], [], [], [], []
    for p in problems:
        denoise = _Counted(p.prior.denoise)
        posterior = _posterior(guidance, denoise, p)
        top = 5 * float(p.prior.principal[0].max().sqrt())
        sigmas = karras(min(0.05, 0.2 * p.error), top, steps)
        if exact:
            with torch.no_grad():
                m, c = propagate(SAMPLERS[kind], posterior, (1, 1, len(p.mean)), sigmas, Langevin(corrections))
        else:
            m, c = _sampled(kind, posterior, len(p.mean), sigmas, seed)
        spreads.append(float((c.trace() / p.covariance.trace()).sqrt()))
        local = (c.diag() / p.covariance.diag()).sqrt()
        lows.append(float(local.min()))
        highs.append(float(local.max()))
        means.append(float(((m - p.mean).square().sum() / p.covariance.trace()).sqrt()))
        counts.append(denoise.calls)
        products.append(denoise.products)
    spread, point = (min(spreads), max(spreads)), (min(lows), max(highs))
    return Row(guidance, kind, corrections, steps, max(counts), max(products), spread, point, max(means), exact)


def _sampled(kind: str, posterior: Denoise, n: int, sigmas: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    noise = normal(seed, stream("bench sampler", "members"), torch.arange(_MEMBERS), torch.arange(n))
    with torch.no_grad():
        x = SAMPLERS[kind](posterior, noise.view(-1, 1, 1, n), sigmas).flatten(1)
    return x.mean(dim=0), torch.cov(x.T)


def _front(rows: list[Row]) -> tuple[Row, ...]:
    def beaten(row: Row) -> bool:
        return any(
            o.cost <= row.cost and o.error <= row.error and (o.cost, o.error) != (row.cost, row.error) for o in rows
        )

    return tuple(replace(row, front=row.exact and not beaten(row)) for row in rows)


def _drawn(rows: Sequence[Row]) -> bytes:
    """Cost against the largest error, a line a method; points of the front are filled."""
    drawn = figure(6.0, 4.0)
    axes = drawn.add_subplot()
    names = list(dict.fromkeys((r.guidance, r.sampler, r.corrections) for r in rows))
    for number, name in enumerate(names):
        mine = [r for r in rows if (r.guidance, r.sampler, r.corrections) == name]
        label = f"{name[0]}, {name[1]}" + (f" + {name[2]}" if name[2] else "") + ("" if mine[0].exact else " (sampled)")
        colour, style = COLOURS[number % len(COLOURS)], "-" if number < len(COLOURS) else "--"
        x, y = [r.cost for r in mine], [min(r.error, _TALLEST) for r in mine]
        axes.plot(x, y, color=colour, linestyle=style, linewidth=1.2, marker="o", markerfacecolor="white", label=label)
        best = [r for r in mine if r.front]
        axes.plot([r.cost for r in best], [r.error for r in best], linestyle="", marker="o", color=colour)
    for target in (0.03, 0.1):
        axes.axhline(target, color="0.5", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="calls and products", ylabel="largest error of spread or mean")
    axes.set_xticks((8, 16, 32, 64), ("8", "16", "32", "64"), minor=False)
    axes.set_xticks((), minor=True)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return png(drawn)
