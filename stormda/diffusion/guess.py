"""What a linear-Gaussian model of the past says about the state: the guess that a network improves on.

    x = E^T a + b        a = E x the coordinates of R EOFs, b what they leave out
    a_k = G a_{k-1} + q          a linear inverse model (Penland 1989,
                                 https://doi.org/10.1175/1520-0493(1989)117<2165:RFAFUP>2.0.CO;2), q ~ N(0, Q)
    b_k = r b_{k-1} + e          point by point, a first-order autoregression

With a frame of history of mean m and error e the state is N(mu, E^T S E + b's variance), S = G P G^T + Q, where P has
the climatological correlations and the standard deviation e. Given x_t = x + sigma n besides, mean and variance of the
state are those of the Wiener filter; without any frame mu = 0 and S is the climate's. A frame that is j steps old is
taken j steps forward. R = 0 leaves independent points, which is the preconditioning of EDM with persistence. Where a
field is spread over processes, each holds its part of every buffer (`LinearGuess.part`), and a is a sum over all.

With a model of the flow (`stormda.nn.transport`) the mean is what that makes of m, and Q and r are those of its errors.
G then only takes P forward, unless P is given and the model itself does, to second order (`Transport.spread`).
"""

__all__ = ["Guess", "LinearGuess", "inverse_model"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stormda.diffusion.gaussian import Gaussian
from stormda.errors import ConfigError
from stormda.layout import WHOLE, Layout
from stormda.nn.transport import Transport

_RIDGES = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0)
_BLOCKS = 5
_LEAST = 1e-3  # of the climatological variance of a channel, which is 1: no point is taken to be known


@dataclass(frozen=True, eq=False)
class Guess:
    """The state given its past, before anything else is known of it.

    Args:
        mean, variance: point by point, [B, C, H, W].
        modes: E, [R, C H W].
        covariance: S, of the coordinates, [B, R, R] in float64.
        beside: variance of b, [B, C, H, W].
        outside: share of white noise that lies outside the modes, [C, H, W].
        layout: how fields are spread over processes.
    """

    mean: Tensor
    variance: Tensor
    modes: Tensor
    covariance: Tensor
    beside: Tensor
    outside: Tensor
    layout: Layout = WHOLE

    def denoise(self, x_BCHW: Tensor, sigma_B: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the state given x_t at noise levels sigma_B (B or 1 of them), [B, C, H, W] each."""
        square = sigma_B.double()[:, None, None] ** 2
        one = torch.eye(len(self.modes), dtype=torch.float64, device=x_BCHW.device)
        factor = torch.linalg.cholesky(self.covariance + square * one)
        inside = (one - square * torch.cholesky_inverse(factor)).to(x_BCHW.dtype)  # S (S + sigma^2)^-1, [B, R, R]
        noise = sigma_B.to(x_BCHW)[:, None, None, None] ** 2
        gain = self.beside / (self.beside + noise * self.outside)
        d = x_BCHW - self.mean
        a = self.layout.sum(d.flatten(1) @ self.modes.T)
        within = (a[:, None] @ inside)[:, 0] @ self.modes
        mean = self.mean + gain * (d - (a @ self.modes).view_as(d)) + within.view_as(d)
        spread = ((inside @ self.modes) * self.modes).sum(dim=1).view(-1, *d.shape[1:])
        return mean, noise * (gain * self.outside + spread)

    def gaussian(self) -> Gaussian:
        """The same as one Gaussian, of the first sample's covariance; b is spread evenly over its directions."""
        beside, outside = self.layout.sum(torch.stack([self.beside[0].sum(), self.outside.sum()]).double()).tolist()
        mean = self.mean[0] if len(self.mean) == 1 else self.mean
        return Gaussian(mean, self.modes, self.covariance[0], beside / outside, self.layout)


class LinearGuess(nn.Module):
    """The model itself; nothing in it is trained together with the network.

    Args:
        variance: climatological variance of every point [C, H, W].
        correlation: r, of what the modes leave out, at the lag of each frame, oldest first [K, C, H, W].
        modes: E, orthonormal rows [R, C H W].
        energy: climatological variances of the coordinates [R].
        propagator, noise: G and Q of one step [R, R].
        beside: climatological variance of what the modes leave out [C, H, W].
        transport: takes the mean forward in the place of G and r; None: these do.
    """

    variance: Tensor
    correlation: Tensor
    modes: Tensor
    energy: Tensor
    propagator: Tensor
    noise: Tensor
    beside: Tensor
    transport: Transport | None

    def __init__(
        self,
        variance: Tensor,
        correlation: Tensor,
        modes: Tensor,
        energy: Tensor,
        propagator: Tensor,
        noise: Tensor,
        beside: Tensor,
        transport: Transport | None = None,
    ) -> None:
        super().__init__()
        self.transport = transport
        self.register_buffer("variance", variance.float().clamp_min(_LEAST))
        self.register_buffer("correlation", correlation.float().clamp(-0.999, 0.999))
        self.register_buffer("modes", modes.float())
        self.register_buffer("energy", energy.float())
        self.register_buffer("propagator", propagator.float())
        self.register_buffer("noise", noise.float())
        self.register_buffer("beside", beside.float().clamp_min(_LEAST * (1.0 if len(modes) == 0 else 0.1)))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "LinearGuess":
        """From its state."""
        moving = {n.removeprefix("transport."): t for n, t in tensors.items() if n.startswith("transport.")}
        own = {n: t for n, t in tensors.items() if not n.startswith("transport.")}
        return cls(**own, transport=Transport.of(moving) if moving else None)

    @classmethod
    def pointwise(cls, variance: Tensor, correlation: Tensor) -> "LinearGuess":
        """No modes: independent points."""
        none, square = variance.new_zeros(0), variance.new_zeros(0, 0)
        return cls(variance, correlation, variance.new_zeros(0, variance.numel()), none, square, square, variance)

    def forward(
        self,
        mean_BKCHW: Tensor,
        error_BKCHW: Tensor,
        mask_BK: Tensor,
        covariance_BRR: Tensor | None = None,
        scale_B: Tensor | None = None,
        layout: Layout = WHOLE,
    ) -> Guess:
        """The guess from the newest frame that is there.

        Args:
            mean_BKCHW, error_BKCHW, mask_BK: as those of `stormda.nn.storm.Storm`.
            covariance_BRR: P of the newest frame, where known; None: its error with the climatological correlations.
            scale_B: factor of the variances Q, of the climate and of b; None: 1.
            layout: how fields are spread over processes, of which this is the `part`.
        """
        b, k = mask_BK.shape
        newest = (mask_BK * torch.arange(1, k + 1, device=mask_BK.device)).amax(dim=1)  # 1 + its index; 0: none
        there, pick = (newest > 0)[:, None, None, None], (newest - 1).clamp_min(0)
        rows = torch.arange(b, device=mask_BK.device)
        m = torch.where(there, mean_BKCHW[rows, pick], 0.0)
        share = torch.where(there, error_BKCHW[rows, pick] / self.variance.sqrt(), 1.0)
        r = torch.where(there, self.correlation[pick], 0.0)

        age = torch.where(newest > 0, k + 1 - newest, 0)
        g, q = (f[age] for f in self._steps(k))
        a, taken = layout.sum(m.flatten(1) @ self.modes.T), None
        if self.transport is None:
            mean = (g.to(a) @ a[:, :, None])[:, :, 0] @ self.modes
            mean = mean.view_as(m) + r * (m - (a @ self.modes).view_as(m))
        else:
            moved, taken = self._moved(self.transport, m, age, covariance_BRR)
            mean = torch.where(there, moved, 0.0)
        if scale_B is not None:
            q = scale_B.double()[:, None, None] * q
        if taken is not None:
            covariance = torch.where(there[:, 0], taken, q)
        elif covariance_BRR is None:
            own = layout.sum((self.modes * share.flatten(1)[:, None]) @ self.modes.T)
            p_half = own * self.energy.sqrt()  # P = half half^T
            moved = g @ p_half.double()
            covariance = moved @ moved.mT + q
        else:
            covariance = g @ covariance_BRR.double() @ g.mT + q
        beside = self.beside * (1 - r**2 * (1 - share**2))
        if scale_B is not None:
            beside = scale_B.to(beside)[:, None, None, None] * beside
        spread = ((covariance.to(a) @ self.modes) * self.modes).sum(dim=1).view_as(m)
        outside = (1 - self.modes.square().sum(dim=0)).clamp_min(1e-3).view_as(self.variance)
        return Guess(mean, beside + spread, self.modes, covariance, beside, outside, layout)

    def part(self, layout: Layout) -> "LinearGuess":
        """What this process holds of it; raises ConfigError for a model of the flow, which needs all of a field."""
        if self.transport is not None:
            what = "the network improves on a model of the flow, which needs all of a member in one process"
            raise ConfigError(what, key="parallel.tile", hint="1")
        rows, columns = layout.part((self.variance.shape[-2], self.variance.shape[-1]))
        fields = {name: getattr(self, name)[..., rows, columns] for name in ("variance", "correlation", "beside")}
        modes = self.modes.view(-1, *self.variance.shape)[..., rows, columns].flatten(1)
        own = LinearGuess(modes=modes, energy=self.energy, propagator=self.propagator, noise=self.noise, **fields)
        return own.to(self.modes)

    def _moved(
        self, transport: Transport, m_BCHW: Tensor, age_B: Tensor, covariance_BRR: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Each state as many steps forward as it is old, and the covariance of its error where the model takes that."""
        x = m_BCHW.clone()
        if covariance_BRR is None or not bool(transport.errors):
            for step in range(1, int(age_B.max()) + 1):
                x[age_B >= step] = transport(x[age_B >= step])
            return x, None
        p = covariance_BRR.double().expand(len(x), -1, -1).clone()
        for b, age in enumerate(age_B.tolist()):
            for _ in range(age):
                values, vectors = torch.linalg.eigh(p[b])
                root = (vectors * values.clamp_min(0.0).sqrt()).T.to(x) @ self.modes
                x[b], moved = transport.spread(x[b], root, self.modes)
                p[b] = moved + self.noise.double()
        return x, p

    def _steps(self, frames: int) -> tuple[Tensor, Tensor]:
        """G and Q of 1..K steps, [K + 1, R, R] in float64; entry 0 is for no frame at all: 0 and the climate's."""
        g, q = self.propagator.double(), self.noise.double()
        gs, qs = [torch.zeros_like(g), g], [torch.diag(self.energy.double()), q]
        for _ in range(frames - 1):
            gs.append(g @ gs[-1])
            qs.append(g @ qs[-1] @ g.T + q)
        return torch.stack(gs), torch.stack(qs)


def inverse_model(before_TR: Tensor, after_TR: Tensor, ridge: float | None = None) -> tuple[Tensor, Tensor]:
    """G by regression, and its errors on times that it has not seen; Q is their covariance.

    The regression shrinks towards the autoregression of each coordinate by itself (a ridge on what differs from it,
    Hoerl and Kennard 1970, https://doi.org/10.1080/00401706.1970.10488634): many coordinates and few years would
    otherwise fit noise. Times are left out in five blocks in turn; the errors are those there, and without a given
    ridge the one with the least of them is taken.

    Args:
        before_TR, after_TR: coordinates one step apart, in the order of time.
        ridge: share of the mean variance of a coordinate; None: by cross-validation.

    Returns:
        G [R, R] and errors [T, R].
    """
    before, after = before_TR.double(), after_TR.double()
    errors: dict[float, Tensor] = {}
    for candidate in _RIDGES if ridge is None else (ridge,):
        parts = []
        for block in torch.arange(len(before)).chunk(_BLOCKS):
            kept = torch.ones(len(before), dtype=torch.bool)
            kept[block] = False
            parts.append(after[block] - before[block] @ _regression(before[kept], after[kept], candidate).T)
        errors[candidate] = torch.cat(parts)
    best = min(errors, key=lambda candidate: float(errors[candidate].square().sum()))
    return _regression(before, after, best), errors[best]


def _regression(before_TR: Tensor, after_TR: Tensor, ridge: float) -> Tensor:
    c0 = before_TR.T @ before_TR / len(before_TR)
    alone = torch.diag((before_TR * after_TR).mean(dim=0) / torch.diag(c0).clamp_min(1e-12))
    regular = c0 + ridge * torch.diag(c0).mean() * torch.eye(len(c0), dtype=c0.dtype, device=c0.device)
    beyond = before_TR.T @ (after_TR - before_TR @ alone.T) / len(before_TR)
    g: Tensor = alone + torch.linalg.solve(regular, beyond).T
    return g
