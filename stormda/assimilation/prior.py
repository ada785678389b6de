"""Priors: what the state may be before the observations of this cycle, given the history.

Every prior has one interface: a denoiser, conditioned on the history, in standardised space. The closed-form Gaussian
prior lives in EOF space. Without history it is the climatological covariance (of the season, where asked); with
history it is a linear inverse model (Penland 1989, https://doi.org/10.1175/1520-0493(1989)117<2165:RFAFUP>2.0.CO;2)

    a_k = G a_{k-1} + q,   a = E x the EOF coordinates

so that with a history of mean m and error covariance P the state has mean E^T G E m and covariance G P G^T + Q: the
error of the history is carried, which makes cycling with this prior the Kalman filter. A newest frame that is j steps
old is taken j steps forward.
"""

__all__ = ["GaussianPrior", "Prior", "signature_of"]

import hashlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guess import inverse_model
from stormda.diffusion.history import History
from stormda.errors import InputError
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.time import hours
from stormda.types import Array, Denoise, Mapping2
from stormda.variables import Channel

if TYPE_CHECKING:  # A machine that only samples needs neither pydantic nor zarr.
    from stormda.config import GaussianConfig, Period
    from stormda.store.archive import Archive

log = logging.getLogger(__name__)


class Prior(Protocol):
    """A generative model of the state.

    Attributes:
        channels, grid, normaliser: what it models, and its standardised units.
        frames: how many frames of history it looks at, `step` apart.
        sigma_max: a noise level far above its largest pattern.
    """

    channels: tuple[Channel, ...]
    grid: Grid
    normaliser: Normaliser
    frames: int
    step: np.timedelta64
    sigma_max: float

    @property
    def signature(self) -> str | None:
        """Tells the EOFs from others that a carried error covariance is written in; None: nothing is carried."""

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        """E[x | x_t, history] at the analysis time."""

    def linear(self, history: History, time: np.datetime64) -> Gaussian:
        """The linear-Gaussian model nearest to it: the whole prior where that is Gaussian."""

    def share(self, history: History, sigma: float) -> float:
        """Error variance of the denoiser at a noise level, in units of that of the linear-Gaussian model."""

    def carry(
        self, history: History, time: np.datetime64, operator: Mapping2, y: Tensor, variance: Tensor
    ) -> Tensor | None:
        """What a later cycle must know of the analysis error beyond the ensemble's spread; None: nothing."""


@dataclass(eq=False)
class GaussianPrior:
    """Climatological covariance and linear inverse model in the space of the leading EOFs.

    Args:
        modes: EOFs of the standardised anomalies, orthonormal rows [R, C H W], leading first.
        amplitudes: EOF coordinates of the archive's times [T, R].
        times: of the amplitudes [T].
        residual: variance of each direction that the modes leave out.
        propagator, noise: G and Q [R, R] of one `step`.
        season: learn variances from days within this distance in the year.
        errors: of the propagator, times [P] and coordinates [P, R], for the season's noise.
    """

    channels: tuple[Channel, ...]
    grid: Grid
    normaliser: Normaliser
    step: np.timedelta64
    modes: Tensor
    amplitudes: Tensor
    times: Array
    residual: float
    propagator: Tensor
    noise: Tensor
    season: np.timedelta64 | None = None
    frames: int = 1
    errors: tuple[Array, Tensor] | None = None
    sigma_max: float = field(init=False)

    def __post_init__(self) -> None:
        leading = float(self.amplitudes.square().mean(dim=0).max().sqrt())
        self.sigma_max = 5.0 * max(leading, 1.0)

    @classmethod
    def fit(
        cls, archive: "Archive", config: "GaussianConfig", train: "Period | None", frames: int = 1
    ) -> "GaussianPrior":
        """Learn from the archive's training period.

        Raises:
            InputError: too few times.
        """
        index = archive.select(train)
        if len(index) < 10:
            raise InputError(f"the training period has {len(index)} times", key="archive.train")
        times = archive.times[index]
        state = archive.read(index)
        z = torch.as_tensor(archive.normaliser.encode(state.values, times)).double().flatten(1)
        modes, residual = _eofs(z, config.modes)
        if len(modes) > len(index) / 3:
            what = "the Gaussian prior takes %d EOFs from %d times: its spread will be too small (gaussian.modes)"
            log.warning(what, len(modes), len(index))
        a = z @ modes.T
        before, after = _pairs(times, archive.step)
        if len(before) < 10:
            raise InputError(f"only {len(before)} pairs of times {hours(archive.step):g} h apart", key="archive.step")
        g, errors = inverse_model(a[before], a[after], config.ridge)
        q = errors.T @ errors / len(errors)
        return cls(
            archive.channels, archive.grid, archive.normaliser, archive.step,
            modes, a, times, residual, g, q, config.season, frames, (times[after], errors),
        )  # fmt: skip

    @property
    def signature(self) -> str:
        """Of the modes."""
        return signature_of(self.modes)

    def climatology(self, time: np.datetime64) -> Tensor:
        """Covariance of the EOF coordinates [R, R], of the season around `time` where one is asked for."""
        a = self.amplitudes
        if self.season is not None:
            a = a[torch.as_tensor(_near_in_year(self.times, time, self.season))]
        return a.T @ a / len(a)

    def linear(self, history: History, time: np.datetime64) -> Gaussian:
        """The Gaussian of the state at `time` given the history."""
        shape = (len(self.channels), *self.grid.shape)
        if history.age == 0:
            return Gaussian(torch.zeros(shape, dtype=torch.float64), self.modes, self.climatology(time), self.residual)
        m = history.mean[..., -history.age, :, :, :].double().flatten(-3)
        a = m @ self.modes.T
        p = self._error_covariance(history) if history.covariance is None else history.covariance.double()
        for ago in reversed(range(history.age)):
            a = a @ self.propagator.T
            p = self.propagator @ p @ self.propagator.T + self._noise(time - ago * self.step)
        mean = (a @ self.modes).reshape(*m.shape[:-1], *shape)
        return Gaussian(mean, self.modes, (p + p.T) / 2, self.residual)

    def share(self, history: History, sigma: float) -> float:
        """All of it."""
        return 1.0

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        """The Wiener filter of that Gaussian."""
        return self.linear(history, time).denoise

    def carry(
        self, history: History, time: np.datetime64, operator: Mapping2, y: Tensor, variance: Tensor
    ) -> Tensor | None:
        """The posterior covariance in EOF coordinates, H linearised at the forecast."""
        return self.linear(history, time).posterior(operator, y, variance)[1]

    def _noise(self, time: np.datetime64) -> Tensor:
        """Q, with the standard deviations of the season: a season has too few days for the correlations too."""
        if self.season is None or self.errors is None:
            return self.noise
        times, errors = self.errors
        near = errors[torch.as_tensor(_near_in_year(times, time, self.season))]
        scale = (near.square().mean(dim=0) / torch.diag(self.noise).clamp_min(1e-12)).sqrt()
        return self.noise * scale * scale[:, None]

    def _error_covariance(self, history: History) -> Tensor:
        """From an error level e alone: the climatological correlations, E diag(e/s) S diag(e/s) E^T."""
        e = history.error[..., -history.age, :, :, :].double()
        e = (e.mean(dim=0) if e.ndim == 4 else e).flatten()
        values = self.amplitudes.square().mean(dim=0)
        s = (values @ self.modes.square() + self.residual).sqrt()
        factor = ((self.modes * (e / s)) @ self.modes.T) * values.sqrt()
        return factor @ factor.T


def signature_of(modes_RN: Tensor) -> str:
    """Tells one basis from another, up to rounding: a covariance [R, R] means nothing in a basis of other EOFs."""
    random = torch.as_tensor(np.random.default_rng(0).standard_normal(modes_RN.shape[1]))
    words = np.round((modes_RN.double().cpu() @ random).numpy(), 3) + 0.0  # no negative zero
    return hashlib.sha256(words.tobytes()).hexdigest()[:16]


def _eofs(z_TN: Tensor, modes: int) -> tuple[Tensor, float]:
    """Leading EOFs, and the mean variance of a direction that they leave out."""
    t, n = z_TN.shape
    r = min(modes, t - 1, n)
    if n <= t:
        values, vectors = torch.linalg.eigh(z_TN.T @ z_TN / t)
        patterns = vectors.T.flip(0)[:r].contiguous()
    else:
        values, vectors = torch.linalg.eigh(z_TN @ z_TN.T / t)
        patterns = vectors.T.flip(0)[:r] @ z_TN
        patterns = torch.linalg.qr(patterns.T)[0].T.contiguous()
    total = float(z_TN.square().sum() / t)
    kept = float((z_TN @ patterns.T).square().sum() / t)
    return patterns, max(total - kept, 0.0) / (n - r) if n > r else 0.0


def _pairs(times: Array, step: np.timedelta64) -> tuple[Array, Array]:
    """Indices of all pairs of times exactly one step apart."""
    position = np.searchsorted(times, times + step)
    found = (position < len(times)) & (times[np.minimum(position, len(times) - 1)] == times + step)
    return np.flatnonzero(found), position[found]


def _near_in_year(times: Array, time: np.datetime64, season: np.timedelta64) -> Array:
    """Which times lie within `season` of `time`'s day of the year."""
    year = 365.2425 * 24.0
    distance = np.asarray((times - time) / np.timedelta64(3600, "s")) % year
    near = np.minimum(distance, year - distance) <= hours(season)
    return np.asarray(near if near.sum() >= 10 else np.ones(len(times), dtype=bool))
