"""Training data: a state, and the imperfect past that an analysis at its time would have had.

The past of an assimilation is an analysis: a mean m with an error that is independent of m (Berkson 1950), not the
truth plus an error (classical). Training pairs have to look like that. With EOFs E, coordinates a = E x of variance
lambda, an analysis of x that knows it through classical noise of variance n = s^2 lambda^alpha lbar^(1-alpha) a
coordinate is the Wiener filter

    m = E^T [lambda/(lambda + n) (a + sqrt(n) e)]      error variance of a coordinate  lambda n/(lambda + n)

(alpha = 1: errors shaped like the weather; alpha = 0: white, as of dense observations). An analysis makes the next
one's background, so e is alike in successive frames, by an amount that differs from sample to sample: a network that
took the errors of five frames for independent would trust their mean too much. In every second sample a Kalman update
with a few pseudo-observations of x at random points follows, so that errors differ from place to place. In the Gaussian
world E[x | m] = m exactly, and the network is told the error's standard deviation at every point, as it is by an
ensemble later. What the EOFs leave out is treated as one more coordinate, alike in all its directions.
"""

__all__ = ["Batch", "Chain", "Data", "Sampler", "Series", "Statistics", "statistics"]

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from stormda.errors import InputError
from stormda.layout import WHOLE, Layout
from stormda.nn.embedding import forcing
from stormda.nn.planes import Strip
from stormda.training.rim import NO_RIM, Rim
from stormda.types import Array

_EOF_TIMES = 4000  # times that EOFs are computed from
_EOFS = 512
_TENSORS = ("x", "mean", "error", "mask", "forcing")  # of a batch


class Data(Protocol):
    """What a training learns from: fields in memory (`Series`) or on a disk (`stormda.training.stream.Stream`)."""

    @property
    def times(self) -> Array:
        """[T], datetime64, rising; gaps are allowed."""

    @property
    def step(self) -> np.timedelta64:
        """The distance of history frames."""

    @property
    def targets(self) -> Array:
        """Indices of the times to learn."""

    def sample(self) -> "Series":
        """Fields that the climate and the linear-Gaussian guess are estimated from."""

    def at(self, number: int) -> "Series":
        """The fields that a step of training draws from: a function of its number and nothing else."""

    def digest(self) -> str:
        """Tells these data from others."""


@dataclass(frozen=True, eq=False)
class Series:
    """Standardised fields in memory.

    Args:
        fields: [T, C, H, W], float32.
        times: [T], datetime64, rising; gaps are allowed.
        step: the distance of history frames.
        targets: indices of the times to learn; frames of history may be any time of the series.
        identity: what the fields are, where they can be made again but not bit by bit; empty: their bytes say it.
    """

    fields: Tensor
    times: Array
    step: np.timedelta64
    targets: Array
    identity: str = ""

    def __post_init__(self) -> None:
        if not bool(torch.isfinite(self.fields).all()):
            raise InputError("the standardised fields are not finite", hint="stormda ingest builds the archive again")
        if len(self.targets) == 0:
            raise InputError("there is no time to learn from", key="archive.train")

    def to(self, device: str) -> "Series":
        """The same with its fields on a device."""
        return replace(self, fields=self.fields.to(device))

    def sample(self) -> "Series":
        """All of it."""
        return self

    def at(self, number: int) -> "Series":
        """All of it, at every step."""
        return self

    def digest(self) -> str:
        """A hash of fields and targets."""
        content = self.identity.encode() or self.fields.cpu().numpy().tobytes()
        return hashlib.sha256(content + self.targets.tobytes()).hexdigest()[:12]

    def past(self, frames: int) -> Array:
        """Index of each frame of history of each target [targets, K], oldest first; -1 where there is none."""
        wanted = self.times[self.targets][:, None] - self.step * np.arange(frames, 0, -1)
        place = np.searchsorted(self.times, wanted)
        found = np.minimum(place, len(self.times) - 1)
        return np.where(self.times[found] == wanted, found, -1)


@dataclass(frozen=True, eq=False)
class Statistics:
    """What training knows of the climate.

    Args:
        variance: of every point [C, H, W].
        modes: EOFs, orthonormal rows [R, C H W], and the variance of their coordinates `energy` [R], leading first.
        rest: variance of each direction beyond the EOFs.
    """

    variance: Tensor
    modes: Tensor
    energy: Tensor
    rest: float

    @property
    def leading(self) -> float:
        """Standard deviation of the leading EOF coordinate."""
        return float(self.energy[0].sqrt())


def statistics(series: Series, roll: bool) -> Statistics:
    """Estimate from the targets of a series; with `roll`, columns are statistically alike and share one estimate."""
    x = series.fields[torch.as_tensor(series.targets)]
    variance = x.square().mean(dim=0)
    if roll:
        variance = variance.mean(dim=-1, keepdim=True).expand_as(variance)
    modes, energy, rest = _eofs(x.flatten(1), roll, x.shape[1:])
    return Statistics(variance.contiguous(), modes, energy, rest)


def _eofs(x_TN: Tensor, roll: bool, shape: torch.Size) -> tuple[Tensor, Tensor, float]:
    """Leading EOFs, their variances, and the variance of each direction that is left out."""
    x = x_TN[:: max(1, math.ceil(len(x_TN) / _EOF_TIMES))]
    if roll:  # A few shifts of each field stand for all.
        half = x.reshape(-1, *shape).roll(shape[-1] // 2, dims=-1).flatten(1)
        x = torch.cat([x, half])[:_EOF_TIMES]
    t, n = x.shape
    if n <= t:
        values, vectors = torch.linalg.eigh((x.T @ x).double() / t)
        patterns = vectors.T.flip(0)
    else:
        values, vectors = torch.linalg.eigh((x @ x.T).double() / t)
        patterns = (vectors.T.flip(0).to(x) @ x).double()
    values = values.flip(0).clamp_min(0.0)
    r = int(min(_EOFS, t // 2, n, (values > 1e-6 * values[0]).sum()))
    modes = torch.linalg.qr(patterns[:r].T)[0].T
    rest = float(values[r:].sum()) / max(n - r, 1)
    return modes.float().contiguous(), values[:r].float(), rest


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples: the truth [B, C, H, W] and what the network is told (see `Storm`)."""

    x: Tensor
    mean: Tensor
    error: Tensor
    mask: Tensor
    forcing: Tensor
    strip: Strip | None = None

    @property
    def told(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Layout, Strip | None]:
        """The arguments of a denoiser after state and noise level."""
        return self.mean, self.error, self.mask, self.forcing, WHOLE, self.strip

    def sample(self, index: int) -> "Batch":
        """A batch of one."""
        return self.cut(slice(index, index + 1))

    def cut(self, some: slice) -> "Batch":
        """Some of the samples."""
        strip = None if self.strip is None else self.strip[some]
        return Batch(self.x[some], self.mean[some], self.error[some], self.mask[some], self.forcing[some], strip)

    def __add__(self, other: "Batch") -> "Batch":
        """The samples of both."""
        both: dict[str, Any] = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in _TENSORS}
        strip = None if self.strip is None or other.strip is None else self.strip + other.strip
        return Batch(**both, strip=strip)

    def forgotten(self) -> "Batch":
        """The same truths without any past."""
        nothing, one = torch.zeros_like(self.mean), torch.ones_like(self.error)
        return replace(self, mean=nothing, error=one, mask=torch.zeros_like(self.mask))


@dataclass(frozen=True, eq=False)
class Chain:
    """Samples with a past that is n frames longer than the network sees, so that it can make its own analyses of it.

    Args:
        batch: B samples with K + n frames.
        truth: the newest n of these frames as they were [B, n, C, H, W].
        forcing: at their times [B, n, F].
    """

    batch: Batch
    truth: Tensor
    forcing: Tensor

    def cut(self, some: slice) -> "Chain":
        """Some of the samples."""
        return Chain(self.batch.cut(some), self.truth[some], self.forcing[some])


@dataclass(eq=False)
class Sampler:
    """Draws batches: a pure function of the generator, so that a step can be repeated.

    Args:
        series, statistics: the data.
        frames: K.
        dropout: share of samples without any past; of the rest, the same share of single frames is lost.
        error: range of s, log-uniform.
        roll: shift samples around the world in longitude (a plane that wraps has no preferred place).
        extra: n, older frames besides, for `chain`.
        rim: what a coarser model knows at the time of the truth.
    """

    series: Series
    statistics: Statistics
    frames: int
    dropout: float
    error: tuple[float, float]
    roll: bool
    extra: int = 0
    rim: Rim = NO_RIM

    def __post_init__(self) -> None:
        device = self.series.fields.device
        self._past = torch.as_tensor(self.series.past(self.frames + self.extra), device=device)
        self._target = torch.as_tensor(self.series.targets, device=device)
        self._forcing = torch.as_tensor(forcing(self.series.times), device=device)

    def draw(self, count: int, g: torch.Generator) -> Batch:
        """A random batch."""
        return self.make(self._choose(count, g), g)

    def make(self, chosen: Tensor, g: torch.Generator) -> Batch:
        """The samples of chosen targets (positions in `series.targets`) with a random imperfect past."""
        return self._make(chosen, g)[0]

    def chain(self, count: int, g: torch.Generator) -> Chain:
        """Random samples with a past of K + n frames."""
        chosen = self._choose(count, g)
        batch, truth = self._make(chosen, g)
        newest = self._past[chosen, self.frames :].clamp_min(0)
        return Chain(batch, truth[:, self.frames :], self._forcing[newest])

    def _choose(self, count: int, g: torch.Generator) -> Tensor:
        return torch.randint(len(self.series.targets), (count,), generator=g, device=g.device)

    def _make(self, chosen: Tensor, g: torch.Generator) -> tuple[Batch, Tensor]:
        """The samples, and their past as it was."""
        b = len(chosen)
        target = self._target[chosen]
        past = self._past[chosen]  # [B, K]
        fields = self.series.fields
        x, truth = fields[target], fields[past.clamp_min(0)]
        mask = (past >= 0) & (torch.rand(b, 1, generator=g, device=g.device) >= self.dropout)
        lost = torch.rand(past.shape, generator=g, device=g.device) < self.dropout
        mask &= ~lost if self.frames > 1 else torch.ones_like(lost)
        mean, error = self._analyses(truth, g)
        if self.roll:
            shifts = torch.randint(x.shape[-1], (b,), generator=g, device=g.device)
            x, truth, mean, error = (_rolled(f, shifts) for f in (x, truth, mean, error))
        there = mask[:, :, None, None, None]
        strip = self.rim.of(x, g, self.rim.dropout)
        return Batch(x, mean * there, torch.where(there, error, 1.0), mask, self._forcing[target], strip), truth

    def known(self, chosen: Tensor, error: float) -> Batch:
        """The samples of chosen targets with a past that is the truth, said to have a small error."""
        past = self._past[chosen]
        mask = past >= 0
        truth = self.series.fields[past.clamp_min(0)]
        there = mask[:, :, None, None, None]
        errors = torch.where(there, torch.full_like(truth, error), torch.ones_like(truth))
        return Batch(
            self.series.fields[self._target[chosen]], truth * there, errors, mask, self._forcing[self._target[chosen]]
        )

    def _analyses(self, x_BKCHW: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """Means and errors [B, K, C, H, W] of analyses of the given truths."""
        shape = x_BKCHW.shape
        s, (b, k) = self.statistics, shape[:2]
        x = x_BKCHW.flatten(2)  # [B, K, n]
        low, high = (math.log(e) for e in self.error)
        level = torch.exp(low + (high - low) * torch.rand(b, 1, 1, generator=g, device=g.device)).square()
        alpha = torch.rand(b, 1, 1, generator=g, device=g.device)
        mean_energy = float(s.energy.square().sum() / s.energy.sum())
        noise = level * s.energy**alpha * mean_energy ** (1 - alpha)  # [B, 1, R]
        noise_rest = level * max(s.rest, 1e-9) ** alpha * mean_energy ** (1 - alpha)
        e = _alike(torch.randn(x.shape, generator=g, device=g.device), g)
        a, ea = x @ s.modes.T, e @ s.modes.T
        posterior = s.energy * noise / (s.energy + noise)
        gain, gain_rest = s.energy / (s.energy + noise), s.rest / (s.rest + noise_rest)
        rest = gain_rest * ((x - a @ s.modes) + noise_rest.sqrt() * (e - ea @ s.modes))
        mean = (gain * (a + noise.sqrt() * ea)) @ s.modes + rest
        square = s.modes.square()
        beyond = (1 - square.sum(dim=0)).clamp_min(0.0) * s.rest * noise_rest / (s.rest + noise_rest)
        variance = posterior @ square + beyond  # [B, 1, n]
        half = b // 2  # Every second sample also saw a few observations.
        mean[:half], variance[:half] = self._observe(x[:half], mean[:half], variance[:half], posterior[:half], g)
        error = variance.clamp_min(1e-8).sqrt().expand(b, k, -1)
        return mean.reshape(shape), error.reshape(shape)

    def _observe(
        self, x: Tensor, mean: Tensor, variance: Tensor, p_B1R: Tensor, g: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The Kalman update with pseudo-observations at random points, the same for all frames of a sample."""
        s, (b, k, n) = self.statistics, x.shape
        if b == 0:
            return mean, variance
        most = max(2, min(128, n // 8))
        count = int(torch.exp(math.log(most) * torch.rand(1, generator=g, device=g.device)))
        point = torch.rand(b, n, generator=g, device=g.device).argsort(dim=1)[:, :count]  # [B, q]
        r = torch.exp(math.log(0.03) + math.log(20.0) * torch.rand(b, 1, generator=g, device=g.device)).square()
        at = s.modes.T[point] * p_B1R  # [B, q, R]: covariance of the observed values with the coordinates
        inside = at @ s.modes.T[point].transpose(1, 2)
        own = (variance[:, 0].gather(1, point) - torch.diagonal(inside, dim1=1, dim2=2)).clamp_min(0.0)
        factor = torch.linalg.cholesky(inside + torch.diag_embed(own + r))
        cross = torch.linalg.solve_triangular(factor, at @ s.modes, upper=False)  # [B, q, n]: L^-1 H P
        index = point[:, None].expand(b, k, count)
        noise = r.sqrt()[:, None] * torch.randn(b, k, count, generator=g, device=g.device)
        innovation = x.gather(2, index) + noise - mean.gather(2, index)
        weights = torch.linalg.solve_triangular(factor, innovation.transpose(1, 2), upper=False)  # [B, q, K]
        return mean + weights.transpose(1, 2) @ cross, (variance - cross.square().sum(dim=1, keepdim=True)).clamp_min(
            0.0
        )


def _alike(e_BKn: Tensor, g: torch.Generator) -> Tensor:
    """Errors of successive frames with a correlation of their own in each sample, from none to full."""
    rho = torch.rand(len(e_BKn), 1, generator=g, device=g.device)
    frames = [e_BKn[:, 0]]
    for k in range(1, e_BKn.shape[1]):
        frames.append(rho * frames[-1] + (1 - rho.square()).sqrt() * e_BKn[:, k])
    return torch.stack(frames, dim=1)


def _rolled(x: Tensor, shifts: Tensor) -> Tensor:
    """Each sample shifted along its last axis by its own number of points."""
    width = x.shape[-1]
    index = (torch.arange(width, device=x.device)[None] - shifts[:, None]) % width
    index = index.reshape(len(x), *[1] * (x.ndim - 2), width).expand_as(x)
    return x.gather(-1, index)
