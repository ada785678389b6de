"""Estimate the error covariance of a network's background by cycling it over the past.

The trained network assimilates pseudo-observations of the archive: a few random points a cycle, their number and error
different from chain to chain, many chains side by side. An analysis is the Kalman update of the background b with the
covariance B that is being estimated; it is the past of the next cycle. What comes out are errors of backgrounds
r = E (b - x) and the analysis errors P that they began with, and

    E[r r^T] = alpha G P G^T + f(t) Q           see `stormda.diffusion.background`

is solved for Q (moments, shrunk towards the linear model's Q and to positive eigenvalues) for each of a few alpha and
shrinkages on the *training* period; f comes from one-step errors there, by gamma regression. The errors there are too
small, since the network has learned these very fields: so Q gets the scale that makes B as large as the errors of the
*validation* period, and the alpha and shrinkage are taken that turn the backgrounds there into the best analyses. P
depends on B, so the whole is done twice. Last the width: with each of a few widths, ensembles are drawn from the
posterior of such observations in the validation period, and their spread is made to match their error.
"""

__all__ = ["background_error"]

import logging
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stormda.diffusion.background import BackgroundError, widened
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guess import LinearGuess
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.nn.embedding import forcing
from stormda.nn.planes import Strip
from stormda.training.data import Series
from stormda.training.rim import NO_RIM, Rim
from stormda.types import Progress, silent

log = logging.getLogger(__name__)

_CHAINS, _HELD_CHAINS = 24, 8
_LENGTH, _SPIN_UP = 32, 8  # cycles of a chain, and those of them that are not counted
_LEAST = 12  # cycles of a chain that are worth it
_ROUNDS = 2
_ALPHAS = (0.25, 0.5, 0.75, 1.0)
_SHRINKAGES = (0.3, 0.6, 0.8, 0.95)
_LEAST_SCALE = 0.2  # of Q, on the validation period
_WORST = 2.0  # share at the highest noise level
_BEYOND = 10.0  # times the climate's variance: errors that no two states of the climate have
_UNFIT = "the background errors of this network do not follow its linear model: no covariance is kept"
_LEVELS, _STATES = 8, 96  # noise levels, and states at which analyses and the share are judged
_WIDTHS = (1.0, 1.2, 1.4)
_DRAWN, _MEMBERS, _STEPS = 32, 8, 16  # states, members and noise levels of the draws that the width is judged by
_OBSERVED = 0.25  # of the points of a field at most
_FEWEST, _MOST = 0.01, 256  # observations: a share of the points, and their number
_SEASON, _KNOWN = 384, 0.01  # one-step errors for the season, and the error of their past


@dataclass(frozen=True, eq=False)
class _Cycles:
    """Backgrounds of a network: r [n, R], G P G^T [n, R, R] and phi [n, F]; and some whole states, to denoise.

    `past` are mean, error, mask, phi and P of these, `background` and `truth` they themselves, `strip` is what is known
    of their rims.
    """

    error: Tensor
    moved: Tensor
    forcing: Tensor
    past: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    background: Tensor
    truth: Tensor
    strip: Strip | None


def background_error(
    model: EDM,
    linear: LinearGuess,
    learn: Series,
    held: Series,
    frames: int,
    sigma: tuple[float, float],
    weights_HW: Tensor,
    *,
    seed: int = 0,
    rim: Rim = NO_RIM,
    progress: Progress = silent,
) -> BackgroundError | None:
    """B of the backgrounds of `model`, and what the denoiser leaves of it at all noise levels.

    Args:
        model: the trained network.
        linear: a linear-Gaussian guess of the same data, with as many modes as B shall have.
        learn, held: training and validation period.
        frames: K.
        sigma: smallest and largest noise level of the training.
        weights_HW: area weights.
        seed: of the observations.
        rim: what a coarser model knows at the time of a state.
        progress: told about the cycles.

    Returns:
        None where a period has no unbroken run of a dozen times, where there are no modes, and where B does not hold: a
        cycle with it has errors of more than twice its variance, as where errors grow that the linear model damps.
    """
    g = torch.Generator().manual_seed(seed + 999)
    runs = [_runs(series, count, g) for series, count in ((learn, _CHAINS), (held, _HELD_CHAINS))]
    if any(len(run) == 0 for run in runs) or len(linear.modes) == 0:
        return None
    levels = torch.linspace(math.log(sigma[0]), math.log(sigma[1]), _LEVELS).exp()
    nothing = torch.zeros(1 + forcing(learn.times[:1]).shape[1])
    all_of_it = torch.ones(_LEVELS), torch.ones(_LEVELS), torch.ones(())
    error = BackgroundError(linear, nothing, levels, *all_of_it).to(learn.fields.device)
    season = _season(model, error, learn, frames, sigma[1], g, rim)
    for number in range(_ROUNDS):
        progress("background errors", number, _ROUNDS)
        learned = _cycle(model, error, linear.propagator, learn, runs[0], frames, sigma[1], g, rim)
        checked = _cycle(model, error, linear.propagator, held, runs[1], frames, sigma[1], g, rim)
        if not all(_bounded(cycles, linear) for cycles in (learned, checked)):
            log.warning(_UNFIT)
            return None
        error = _fitted(linear, error, season, learned, checked, weights_HW, seed)
    progress("background errors", _ROUNDS, _ROUNDS)
    checked = _cycle(model, error, linear.propagator, held, runs[1], frames, sigma[1], g, rim)
    warm, cold = (_share(model, error, checked, levels, weights_HW, known, g) for known in (True, False))
    if not (_bounded(checked, linear) and float(warm[-1]) < _WORST):
        log.warning(_UNFIT)
        return None
    error = BackgroundError(error.linear, error.season, levels, warm, cold, error.width)
    error.width = _width(model, error, checked, sigma, weights_HW, seed, progress).to(error.width)
    return error


def _runs(series: Series, count: int, g: torch.Generator) -> Tensor:
    """Random unbroken runs of targets [count, length] as indices of times; none where there is none of _LEAST."""
    targets = np.asarray(series.targets)
    unbroken = np.concatenate([[True], np.diff(series.times[targets]) == series.step])
    follows = np.zeros(len(targets), dtype=int)  # how many targets before each belong to its run
    for i in range(1, len(targets)):
        follows[i] = follows[i - 1] + 1 if unbroken[i] else 0
    length = min(_LENGTH, int(follows.max()) + 1)
    if length < _LEAST:
        return torch.zeros(0, 0, dtype=torch.long)
    ends = np.flatnonzero(follows >= length - 1)
    chosen = ends[torch.randint(len(ends), (count,), generator=g).numpy()]
    return torch.as_tensor(targets[chosen[:, None] - np.arange(length - 1, -1, -1)])


@torch.no_grad()
def _cycle(
    model: EDM,
    error: BackgroundError,
    propagator: Tensor,
    series: Series,
    runs: Tensor,
    frames: int,
    highest: float,
    g: torch.Generator,
    rim: Rim,
) -> _Cycles:
    """Chains of analyses side by side, from no past on."""
    b, length = runs.shape
    shape, device = series.fields.shape[1:], series.fields.device
    e, phases = error.linear.modes, torch.as_tensor(forcing(series.times), device=device)
    mean, told = torch.zeros(b, frames, *shape, device=device), torch.ones(b, frames, *shape, device=device)
    mask = torch.zeros(b, frames, dtype=torch.bool, device=device)
    p = torch.zeros(b, len(e), len(e), dtype=torch.float64, device=device)
    level = torch.tensor([highest], device=device)
    network = _Network.draw(b, int(math.prod(shape)), g)
    kept: list[tuple[Tensor, ...]] = []
    for k in range(length):
        x, phi = series.fields[runs[:, k]], phases[runs[:, k]]
        start = model.guess(mean, told, mask).mean + highest * torch.randn(x.shape, generator=g).to(x)
        strip = rim.of(x, g)
        background = model(start, level, mean, told, mask, phi, strip=strip)[0]
        guess = error(mean, told, mask, phi, p)
        if k >= _SPIN_UP:
            moved = propagator.double() @ p @ propagator.double().T
            r = (background - x).flatten(1) @ e.T
            kept.append((r, moved.float(), phi, mean, told, mask, phi, p.float(), background, x, *_fields(strip)))
        analysis, p, variance = network.update(background, x, guess.covariance, guess.beside, e, g)
        mean = torch.cat([mean[:, 1:], analysis[:, None]], dim=1)
        told = torch.cat([told[:, 1:], variance.sqrt()[:, None]], dim=1)
        mask = torch.cat([mask[:, 1:], torch.ones_like(mask[:, :1])], dim=1)
    some = [torch.cat(f) for f in list(zip(*kept[:: max(1, len(kept) * b // _STATES)], strict=True))[3:]]
    r, moved, phi = (torch.cat(f) for f in list(zip(*kept, strict=True))[:3])
    strip = Strip(some[7], some[8]) if rim.width else None
    return _Cycles(r, moved, phi, (some[0], some[1], some[2], some[3], some[4]), some[5], some[6], strip)


def _fields(strip: Strip | None) -> tuple[Tensor, ...]:
    return () if strip is None else (strip.field_BCHW, strip.known_BCHW)


def _bounded(cycles: _Cycles, linear: LinearGuess) -> bool:
    """Whether the errors are those of states of the climate."""
    size = cycles.error.square().sum(dim=1).mean()
    return bool(size < _BEYOND * linear.energy.sum())  # false for NaN


@dataclass(frozen=True, eq=False)
class _Network:
    """Observations at random points: of each chain their number [B] and error variance [B], in standardised units."""

    counts: Tensor
    variance: Tensor

    @classmethod
    def draw(cls, chains: int, points: int, g: torch.Generator) -> "_Network":
        """Numbers and errors log-uniform."""
        most = max(2, min(_MOST, int(_OBSERVED * points)))
        fewest = min(max(1, int(_FEWEST * points)), most)
        counts = (fewest * (most / fewest) ** torch.rand(chains, generator=g)).long()
        error = torch.exp(math.log(0.1) + math.log(5.0) * torch.rand(chains, generator=g))
        return cls(counts, error.square())

    def update(
        self, b_BCHW: Tensor, x_BCHW: Tensor, covariance_BRR: Tensor, beside_BCHW: Tensor, e: Tensor, g: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The Kalman update: analysis, its error covariance in the modes, and its error variance at every point.

        What the modes leave out is independent from point to point.
        """
        background, x, beside = (f.flatten(1).double() for f in (b_BCHW, x_BCHW, beside_BCHW))
        modes, count, many = e.double(), int(self.counts.max()), len(background)
        point = torch.rand(x.shape, generator=g).argsort(dim=1)[:, :count].to(x.device)  # [B, q]
        unused = (torch.arange(count) >= self.counts[:, None]).to(x.device)
        noise = self.variance.to(x)[:, None].sqrt() * torch.randn(many, count, generator=g).to(x)
        innovation = (x.gather(1, point) + noise - background.gather(1, point)).masked_fill(unused, 0.0)
        own = beside.expand_as(x).gather(1, point)
        r = self.variance.to(x)[:, None].expand(many, count).masked_fill(unused, 1e8)
        at = modes.T[point]  # [B, q, R]
        cross = at @ covariance_BRR
        factor = torch.linalg.cholesky(cross @ at.mT + torch.diag_embed(own + r))
        weights = torch.cholesky_solve(innovation[:, :, None], factor)[:, :, 0]
        analysis = background + (weights[:, None] @ cross)[:, 0] @ modes
        analysis = analysis.scatter_add(1, point, own * weights)
        half = torch.linalg.solve_triangular(factor, cross, upper=False)
        p = covariance_BRR - half.mT @ half
        variance = ((p @ modes) * modes).sum(dim=1) + beside
        shape = b_BCHW.shape
        return analysis.view(shape).to(b_BCHW), p, variance.clamp_min(1e-8).view(shape).to(b_BCHW)


def _fitted(
    linear: LinearGuess,
    last: BackgroundError,
    season: Tensor,
    learned: _Cycles,
    checked: _Cycles,
    weights_HW: Tensor,
    seed: int,
) -> BackgroundError:
    """The alpha and shrinkage that make the best analyses."""
    found: list[tuple[float, BackgroundError]] = []
    factor = torch.exp(season[0] + learned.forcing.double() @ season[1:])
    squares = learned.error.T.double() @ learned.error.double()
    for alpha in _ALPHAS:
        moments = (squares - alpha * learned.moved.double().sum(dim=0)) / factor.sum()
        for shrinkage in _SHRINKAGES:
            noise = _positive(moments, linear.noise.double(), shrinkage)
            noise = noise * _scale(checked, alpha, noise, season)
            changed = {"propagator": math.sqrt(alpha) * linear.propagator, "noise": noise}
            guess = LinearGuess.of(dict(linear.named_buffers()) | changed)
            error = BackgroundError(guess, season, last.levels, last.share, last.cold_share, last.width)
            found.append((_score(error, checked, weights_HW, torch.Generator().manual_seed(seed)), error))
    return min(found, key=lambda each: each[0])[1]


@torch.no_grad()
def _season(
    model: EDM, error: BackgroundError, series: Series, frames: int, highest: float, g: torch.Generator, rim: Rim
) -> Tensor:
    """c and w: the size of one-step errors from the true past is gamma-distributed around q f, f being 1 on average."""
    sizes, phases = [], []
    past, targets = torch.as_tensor(series.past(frames)), torch.as_tensor(series.targets)
    whole = torch.nonzero((past >= 0).all(dim=1))[:, 0]
    for chosen in torch.split(whole[torch.randperm(len(whole), generator=g)[:_SEASON]], _CHAINS):
        x, mean = series.fields[targets[chosen]], series.fields[past[chosen]]
        told, mask = torch.full_like(mean, _KNOWN), torch.ones(mean.shape[:2], dtype=torch.bool, device=mean.device)
        phi = torch.as_tensor(forcing(series.times[targets[chosen].numpy()])).to(mean)
        start = mean[:, -1] + highest * torch.randn(x.shape, generator=g).to(x)
        level = torch.tensor([highest]).to(x)
        background = model(start, level, mean, told, mask, phi, strip=rim.of(x, g))[0]
        sizes.append(((background - x).flatten(1) @ error.linear.modes.T).square().sum(dim=1))
        phases.append(phi)
    size, phi = torch.cat(sizes).double(), torch.cat(phases).double()
    return _gamma_regression(size / size.mean(), phi).to(torch.float64)


def _gamma_regression(size_n: Tensor, phi_nF: Tensor) -> Tensor:
    """c and w [1 + F] of the expected size exp(c + w . phi), with c such that its mean over the samples is 1."""
    weights = torch.zeros(phi_nF.shape[1], dtype=torch.float64, device=phi_nF.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        expected = phi_nF @ weights
        value: Tensor = (expected + size_n * torch.exp(-expected)).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    w = weights.detach()
    return torch.cat([-torch.exp(phi_nF @ w).mean().log()[None], w])


def _positive(moments: Tensor, prior: Tensor, shrinkage: float) -> Tensor:
    """Moments shrunk towards a prior matrix of their size, their eigenvalues made positive."""
    size = moments.trace().clamp_min(0.05 * prior.trace()) / prior.trace()
    values, vectors = torch.linalg.eigh((1 - shrinkage) * moments + shrinkage * size * prior)
    positive: Tensor = (vectors * values.clamp_min(1e-3 * float(values.mean().abs()))) @ vectors.T
    return positive


def _scale(cycles: _Cycles, alpha: float, noise: Tensor, season: Tensor) -> float:
    """The factor of Q that makes B as large as the errors."""
    size = cycles.error.double().square().sum(dim=1).mean()
    given = alpha * cycles.moved.diagonal(dim1=1, dim2=2).double().sum(dim=1).mean()
    expected = torch.exp(season[0] + cycles.forcing.double() @ season[1:]).mean() * noise.trace()
    return float(((size - given) / expected).clamp_min(_LEAST_SCALE))


def _score(error: BackgroundError, cycles: _Cycles, weights_HW: Tensor, g: torch.Generator) -> float:
    """Mean CRPS of N(analysis, its variance) over all points (Gneiting et al. 2005, doi 10.1175/MWR2904.1)."""
    network = _Network.draw(len(cycles.truth), math.prod(cycles.truth.shape[1:]), g)
    guess = error(*cycles.past)
    data = cycles.background, cycles.truth, guess.covariance, guess.beside, error.linear.modes, g
    analysis, _, variance = network.update(*data)
    sd = variance.sqrt()
    z = (analysis - cycles.truth) / sd
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    crps = sd * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))
    return float((crps * weights_HW).mean())


@torch.no_grad()
def _share(
    model: EDM,
    error: BackgroundError,
    cycles: _Cycles,
    levels: Tensor,
    weights_HW: Tensor,
    known: bool,
    g: torch.Generator,
) -> Tensor:
    """Error variance of the denoised states in units of that which B leaves, at each level."""
    mean, told, mask, phi, p = cycles.past
    mask = mask if known else torch.zeros_like(mask)
    ratios = []
    for level in levels:
        sigma = level.to(mean).expand(len(mean))
        x = cycles.truth + level * torch.randn(cycles.truth.shape, generator=g).to(mean)
        d = model(x, sigma, mean, told, mask, phi, strip=cycles.strip if known else None)[0]
        expected = error(mean, told, mask, phi, p).denoise(x, sigma)[1]
        ratios.append(((d - cycles.truth).square() * weights_HW).mean() / (expected * weights_HW).mean())
    return torch.stack(ratios)


@torch.no_grad()
def _width(
    model: EDM,
    error: BackgroundError,
    cycles: _Cycles,
    sigma: tuple[float, float],
    weights_HW: Tensor,
    seed: int,
    progress: Progress,
) -> Tensor:
    """Where spread / error of analysis ensembles is 1, by linear interpolation between widths with the same noise."""
    g = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(cycles.truth), generator=g)[:_DRAWN]
    network = _Network.draw(len(chosen), math.prod(cycles.truth.shape[1:]), g)
    levels = karras(max(0.05, sigma[0]), sigma[1], _STEPS).to(cycles.truth)
    spread, errors = np.zeros(len(_WIDTHS)), np.zeros(len(_WIDTHS))
    for i, k in enumerate(chosen.tolist()):
        progress("width of the draws", i, len(chosen))
        past, b, x = (tuple(f[k : k + 1] for f in cycles.past), cycles.background[k : k + 1], cycles.truth[k])
        gaussian = error(*past).gaussian()
        point = torch.randperm(x.numel(), generator=g)[: int(network.counts[i])].to(x.device)
        variance = network.variance[i].expand(len(point)).to(x)
        y = x.flatten()[point] + variance.sqrt() * torch.randn(len(point), generator=g).to(x)
        noise = torch.randn(_MEMBERS, *x.shape, generator=g).to(x)

        strip = None if cycles.strip is None else cycles.strip[k : k + 1]

        def denoise(z: Tensor, s: Tensor, past: tuple[Tensor, ...] = past, strip: Strip | None = strip) -> Tensor:
            d: Tensor = model(z, s.reshape(1), *past[:4], strip=strip)[0]
            return d

        def seen(z: Tensor, point: Tensor = point) -> Tensor:
            return z.flatten(1)[:, point]

        for j, width in enumerate(_WIDTHS):
            wide = widened(denoise, b, width)
            share = partial(error.share_at, known=True)
            members = dpm2m(jfps(wide, seen, y, variance, gaussian, share=share), noise, levels)
            own = float((members.var(dim=0) * weights_HW).mean())
            spread[j] += own
            errors[j] += float(((members.mean(dim=0) - x).square() * weights_HW).mean()) - own / _MEMBERS
    progress("width of the draws", len(chosen), len(chosen))
    ratios = np.sqrt(spread / np.maximum(errors, 1e-12))
    return torch.as_tensor(float(np.interp(1.0, ratios, _WIDTHS)))
