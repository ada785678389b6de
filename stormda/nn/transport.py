"""A model of the next state that is quadratic in the last one, for domains that wrap on every side.

Fluids move what they carry with a wind that is itself a linear functional of the state, often of all of it (a stream
function is an inverted Laplacian). So the tendency of u, the state in units of its standard deviation, is

    du/dt = sum_d F_d [(W_d u) u_d] + L u + f

For each channel d three fields W_d u, linear in the state, multiply u_d point by point; F_d takes the products to
tendencies of all channels; f is a forcing that depends on the row alone. W, F and L are convolutions with the whole
domain, products in the space of waves (k, l), each with a table over the length K of the wave vector:

    t_0(K) + i (k t_1(K) + l t_2(K)) / K

isotropic scalars and vectors: in one dimension any kernel. K counts waves along the longer side of the domain. No place
is special, and the number of weights does not grow with the area. F begins as the divergence of the first two products,
L and f as nothing, W as nearly that: flux form, in which the first gradients are those of a linear regression for the
winds. One step of the archive is a few steps of the classical
Runge-Kutta scheme, so that the weights are those of a tendency. Waves that the archive does not have are dropped, in
states and in tendencies: nothing is known of them, and products would feed them.

Models that are learned as tendencies are as old as neural differential equations (Chen et al. 2018,
https://arxiv.org/abs/1806.07366), convolutions in the space of waves are those of Fourier neural operators (Li et al.
2021, https://arxiv.org/abs/2010.08895), linear and quadratic terms those of operator inference (Peherstorfer and
Willcox 2016, https://doi.org/10.1016/j.cma.2016.03.025).
"""

__all__ = ["Transport"]

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

_WINDS = 3  # fields that multiply each channel
_FIRST = 0.02  # size of the first winds
_STEP = 3.0  # square of the length of differences, in standard deviations
_AT_ONCE = 256  # states, for their memory


class Transport(nn.Module):
    """The state one step of the archive later.

    Args:
        offset: the climatology in standard deviations of the anomaly, [C, H, W]: u = x + offset.
        substeps: Runge-Kutta steps in one of the archive.
        seed: of the first weights.
        waves: 1 for those that there are, [H, W / 2 + 1]; None: all.
        errors: whether it takes errors forward too: two steps of the model for each of their directions.
    """

    offset: Tensor
    substeps: Tensor
    waves: Tensor
    errors: Tensor
    _low: Tensor
    _between: Tensor
    _unit: Tensor

    def __init__(
        self, offset: Tensor, substeps: int = 4, seed: int = 0, waves: Tensor | None = None, errors: bool = False
    ) -> None:
        super().__init__()
        c, h, w = offset.shape
        side = max(h, w)
        k = torch.fft.fftfreq(h, 1 / side)[:, None]
        l_ = torch.fft.rfftfreq(w, 1 / side)[None]
        length = (k.square() + l_.square()).sqrt()
        n = int(length.max().floor()) + 2
        g = torch.Generator().manual_seed(seed)
        whole = torch.arange(n, dtype=torch.float32)
        flux = torch.zeros(c, c, _WINDS, 3, n)
        for d in range(c):  # minus the divergence, per grid spacing
            flux[d, d, 0, 1] = -2 * math.pi / side * whole
            flux[d, d, 1, 2] = -2 * math.pi / side * whole
        self.register_buffer("offset", offset.float())
        self.register_buffer("substeps", torch.tensor(substeps))
        self.register_buffer("waves", torch.ones_like(length) if waves is None else waves.float())
        self.register_buffer("errors", torch.tensor(errors))
        first = _FIRST * torch.randn(_WINDS * c, c, 3, n, generator=g)
        self.winds = nn.Parameter(first / (1 + whole).sqrt())
        self.flux = nn.Parameter(flux.flatten(1, 2))
        self.linear = nn.Parameter(torch.zeros(c, c, 3, n))
        self.force = nn.Parameter(torch.zeros(c, h, 1))
        single = torch.ones_like(length)  # the shortest wave of an even number of points has no direction
        if h % 2 == 0:
            single[h // 2] = 0
        if w % 2 == 0:
            single[:, w // 2] = 0
        unit = torch.stack([k.expand_as(length), l_.expand_as(length)]) * single / length.clamp_min(1)
        self.register_buffer("_low", length.floor().long(), persistent=False)
        self.register_buffer("_between", length - length.floor(), persistent=False)
        self.register_buffer("_unit", unit, persistent=False)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Transport":
        """From its state."""
        model = cls(tensors["offset"], int(tensors["substeps"]))
        model.load_state_dict(dict(tensors))
        return model.requires_grad_(False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Standardised anomalies one step later."""
        force = self.force.expand_as(self.offset)
        parts = self._waves(self.winds), self._waves(self.flux), self._waves(self.linear), torch.fft.rfft2(force)
        s = self.waves * torch.fft.rfft2(x_BCHW + self.offset)
        count = int(self.substeps)
        dt = 1 / count
        for _ in range(count):
            k1 = self._tendency(s, *parts)
            k2 = self._tendency(s + dt / 2 * k1, *parts)
            k3 = self._tendency(s + dt / 2 * k2, *parts)
            k4 = self._tendency(s + dt * k3, *parts)
            s = s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        u: Tensor = torch.fft.irfft2(s, s=self.offset.shape[-2:])
        return u - self.offset

    def spread(self, x_CHW: Tensor, root_RN: Tensor, patterns_RN: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of what it makes of N(x, P), to second order.

        Divided differences over sqrt(3) standard deviations along the principal directions of P, for which the fourth
        moments of a Gaussian come out right (Norgaard, Poulsen and Ravn 2000, doi 10.1016/S0005-1098(00)00089-3).

        Args:
            x_CHW: the state.
            root_RN: the principal directions of P, each as long as its standard deviation.
            patterns_RN: orthonormal; the covariance is that of their coordinates.

        Returns:
            Mean [C, H, W] and covariance [R, R] in float64.
        """
        steps = _STEP**0.5 * root_RN.view(-1, *x_CHW.shape)
        center = self(x_CHW[None])
        plus, minus = (
            torch.cat([self(x_CHW + sign * some) for some in torch.split(steps, _AT_ONCE)]) - center
            for sign in (1.0, -1.0)
        )
        even, odd = (plus + minus) / (2 * _STEP), (plus - minus) / (2 * _STEP**0.5)
        first, second = ((f.flatten(1) @ patterns_RN.T).double() for f in (odd, even))
        return center[0] + even.sum(dim=0), first.T @ first + (_STEP - 1) * second.T @ second

    def _waves(self, table: Tensor) -> Tensor:
        """[..., 3, n] -> the multiplier of every wave [..., H, W / 2 + 1], linear between whole K."""
        at = table[..., self._low] * (1 - self._between) + table[..., self._low + 1] * self._between
        return torch.complex(at[..., 0, :, :], at[..., 1, :, :] * self._unit[0] + at[..., 2, :, :] * self._unit[1])

    def _tendency(self, s: Tensor, winds: Tensor, flux: Tensor, linear: Tensor, force: Tensor) -> Tensor:
        c = s.shape[1]
        moving = torch.einsum("jchw,bchw->bjhw", winds, s)
        fields = torch.fft.irfft2(torch.cat([s, moving], dim=1), s=self.offset.shape[-2:])
        products = fields[:, :c, None] * fields[:, c:].unflatten(1, (c, _WINDS))
        moved = torch.einsum("cjhw,bjhw->bchw", flux, torch.fft.rfft2(products.flatten(1, 2)))
        return self.waves * (moved + torch.einsum("cdhw,bdhw->bchw", linear, s) + force)
