"""Surface quasi-geostrophic turbulence between two boundaries: weather in two fields of potential temperature.

**Model.** A layer of depth H of a rotating (f), uniformly stratified (N^2) fluid in a doubly periodic box of side L.
Its interior has no anomaly of potential vorticity, so all that happens follows from the potential temperature theta
on the lower (z = 0) and upper (z = H) boundary, which the geostrophic wind there advects: the nonlinear Eady model.

    q_t + J(psi, q) = (q_e - q) / tau - nu K^n q + Ekman,   q = psi_z = g theta / (f theta_ref)   at z = 0 and z = H

with J(psi, q) = (u q)_x + (v q)_y, u = -psi_y, v = psi_x, horizontal wavenumber K = sqrt(k^2 + l^2) and Ekman damping
+r K^2 psi below and -r K^2 psi above (both boundaries are rigid and alike). States are theta in K; q = psi_z has the
unit m s-1 and 1 m s-1 of it is f theta_ref / g = 3.06e-3 K.

**Inversion.** Zero potential vorticity is (f/N)^2 psi_zz = K^2 psi for each wave. With m = K N H / f and q0, q1 at the
boundaries,

    psi(z) = H / (m sinh m) [ q1 cosh(m z/H) - q0 cosh(m (1 - z/H)) ]

so psi(0) = H/m (q1 / sinh m - q0 / tanh m) and psi(H) = H/m (q1 / tanh m - q0 / sinh m). Waves longer than the Rossby
radius NH/f = 1000 km feel both boundaries and grow by baroclinic instability (at most 0.31 f U / (N H), here one
e-folding in 1.2 days); shorter ones live on one boundary, where theta cascades to small scales. Theory gives the
variance of theta a spectrum of K^-5/3; this model with 256 points has K^-1.8 between waves 4 and 12 of the box and
K^-1.9 to K^-2 between 8 and 40, and with 64 points K^-2.1 between 5 and 15.

**Forcing.** theta relaxes in the time tau towards a zonal jet without net heating,

    theta_e(y) = -(f theta_ref/g) (m U)/(2 l H tanh(m/2)) cos(l y),  l = 2 pi / L,  m = l N H / f,

warmest in the middle of the box (y = L/2): u = -+ U/2 sin(l y) at the upper/lower boundary, westerlies aloft in the
"northern" half and easterlies in the other, a shear of at most U between the boundaries.

**Invariants.** Advection alone conserves the variance of theta on each boundary and the total (kinetic plus available
potential) energy per unit mass E = (f/N)^2 / (2 H) <psi1 q1 - psi0 q0>, with <.> the mean over the box.

**Climate** of the default parameters with 64 points: theta about its zonal and time mean has a standard deviation of
9.0 K on either boundary (12.3 K with the mean jet), the wind 18 m/s a component. Two states six hours apart differ by
2.8 K (root mean square); white errors of 1 K fall to 0.55 K in six hours, because the smallest waves are dropped or
diffused, then double in 36 hours.

**Numerics.** Pseudo-spectral: waves with |k|, |l| < N/3 (in waves per box) are kept, so that products of two fields
are free of aliasing and the truncated system conserves the invariants. Classical Runge-Kutta of fourth order with an
integrating factor, exact for hyperdiffusion. Five transforms a boundary and tendency: theta, u, v back, u theta and v
theta forth. Spectra are kept as [..., boundary, x wave, y wave]: half of the x waves, because fields are real, all y
waves contiguous, and only the columns that survive truncation.

Sources: Tulloch and Smith (2009), "Quasigeostrophic turbulence with explicit surface dynamics: application to the
atmospheric energy spectrum", https://doi.org/10.1175/2008JAS2653.1, and "A note on the numerical representation of
surface dynamics in quasigeostrophic turbulence: application to the nonlinear Eady model",
https://doi.org/10.1175/2008JAS2921.1; Blumen (1978), "Uniform potential vorticity flow",
https://doi.org/10.1175/1520-0469(1978)035<0774:UPVFPI>2.0.CO;2. Parameter values are those of J. Whitaker's data
assimilation testbed, https://github.com/jswhit/sqgturb, except that the truncation is by two thirds and the diffusion
time belongs to the shortest wave that is kept.
"""

__all__ = ["SQG"]

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stormda.errors import ConfigError, StormdaError
from stormda.grid import Grid
from stormda.random import normal, stream
from stormda.variables import Channel

GRAVITY = 9.8  # m s-2
THETA_REF = 300.0  # K
DAY = 86400.0  # s
SIX_HOURS = 21600.0  # s


@dataclass(frozen=True)
class SQG:
    """Surface quasi-geostrophic turbulence; a state is theta [..., 2, points, points] in K: boundary, y, x.

    Args:
        points: grid points along each side of the box.
        length: L, side of the box [m].
        coriolis: f, Coriolis parameter [s-1].
        stratification: N^2, squared buoyancy frequency [s-2].
        height: H, height of the upper boundary [m].
        jet: U, difference of the wind between the boundaries in the core of the equilibrium jet [m s-1].
        friction: r, Ekman damping, r = N^2/f x depth of the Ekman layer [m s-1]; spin-down in about N^2 H / (f^2 r).
        relaxation: tau, time of thermal relaxation to the jet [s]; math.inf for none.
        diffusion_time: e-folding time by hyperdiffusion of the shortest wave kept along an axis [s]; math.inf for none.
        diffusion_order: n, power of the wavenumber in the hyperdiffusion.
        dt: time step [s]; stable while wind x dt x largest wavenumber < 2.8 (80 m/s: 5000 s with 64 points).

    Raises:
        ConfigError: fewer than 8 points, or a length, time or coefficient that must be positive and is not.
    """

    points: int = 64
    length: float = 20e6
    coriolis: float = 1e-4
    stratification: float = 1e-4
    height: float = 10e3
    jet: float = 30.0
    friction: float = 0.0
    relaxation: float = 10 * DAY
    diffusion_time: float = DAY / 3
    diffusion_order: int = 8
    dt: float = 900.0

    def __post_init__(self) -> None:
        if self.points < 8:
            raise ConfigError(f"the SQG model needs at least 8 points, not {self.points}")
        for name in ("length", "coriolis", "stratification", "height", "relaxation", "diffusion_time", "dt"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} of the SQG model must be positive, not {getattr(self, name)}")

    # What a state is.

    @property
    def channels(self) -> tuple[Channel, ...]:
        """`theta0` at the lower and `theta1` at the upper boundary."""
        return Channel("theta", 0.0), Channel("theta", 1.0)

    def grid(self) -> Grid:
        """Nominal coordinates: y = 0..L is 90S..90N and x = 0..L is 0..360E, on a plane that wraps both ways."""
        index = np.arange(self.points)
        latitude, longitude = (index + 0.5) * 180 / self.points - 90, index * 360 / self.points
        return Grid(latitude, longitude, periodic=(True, True), plane=True)

    @property
    def cutoff(self) -> int:
        """The shortest wave that is kept, in waves per box: products of two such waves alias only onto dropped ones."""
        return (self.points - 1) // 3

    @property
    def kelvin(self) -> float:
        """K per m s-1 of psi_z: f theta_ref / g."""
        return self.coriolis * THETA_REF / GRAVITY

    def equilibrium(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """theta of the jet that the state relaxes to, [2, points, points] in K."""
        wave = 2 * math.pi / self.length
        m = wave * math.sqrt(self.stratification) * self.height / self.coriolis
        amplitude = self.kelvin * self.jet * m / (2 * wave * self.height * math.tanh(m / 2))
        y = (torch.arange(self.points, dtype=torch.float64) + 0.5) * self.length / self.points
        theta_y1 = -amplitude * torch.cos(wave * y)[:, None]
        return theta_y1.expand(2, self.points, self.points).to(dtype).contiguous()

    # Time.

    def step(self, theta: Tensor) -> Tensor:
        """The state one time step `dt` later; waves beyond the cutoff are dropped."""
        return self.advance(theta, self.dt)

    def advance(self, theta: Tensor, seconds: float) -> Tensor:
        """The state `seconds` later, a whole number of time steps; waves beyond the cutoff are dropped.

        Raises:
            ConfigError: `seconds` is not a multiple of `dt`.
            StormdaError: the result is not finite.
        """
        steps = round(seconds / self.dt)
        if abs(steps * self.dt - seconds) > 1e-6 * self.dt:
            raise ConfigError(f"{seconds:g} s is no whole number of SQG time steps of {self.dt:g} s")
        tables = _tables(self, theta.dtype, theta.device)
        s = self._spectrum(theta)
        for _ in range(steps):
            s = self._runge_kutta(s, tables)
        after = self._field(s)
        if not torch.isfinite(after).all():
            raise StormdaError(f"the SQG state is not finite after {seconds:g} s", hint="choose a shorter dt")
        return after

    def run(self, initial: Tensor, steps: int, every: float = SIX_HOURS) -> Iterator[Tensor]:
        """Yield the state after each of `steps` intervals of `every` seconds."""
        theta = initial
        for _ in range(steps):
            theta = self.advance(theta, every)
            yield theta

    def initial(self, members: int, seed: int, noise: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
        """The equilibrium jet plus Gaussian noise, [members, 2, points, points] in K.

        The noise has a standard deviation of `noise` K in each field and a spectrum exp(-(K/8)^2), K in waves per box.
        """
        numbers = torch.arange(2 * self.points**2)
        white = normal(seed, stream("sqg", "initial"), torch.arange(members), numbers)
        k, l_ = _waves(self)
        smooth = torch.exp(-(k[:, None] ** 2 + l_**2) / (2 * 8.0**2))
        red = self._field(self._spectrum(white.reshape(members, 2, self.points, self.points)) * smooth)
        red = red - red.mean(dim=(-2, -1), keepdim=True)
        red = red / red.std(dim=(-2, -1), keepdim=True)
        return (self.equilibrium(torch.float64) + noise * red).to(dtype)

    def spin_up(self, theta: Tensor, days: float = 100.0) -> Tensor:
        """The state after `days`; from `initial`, variance and energy are level after 60 days."""
        return self.advance(theta, days * DAY)

    # What follows from a state.

    def interior(self, theta: Tensor, height: float) -> tuple[Tensor, Tensor, Tensor]:
        """u and v [m s-1] and the anomaly of theta [K] at a height [m] between the boundaries, each [..., y, x]."""
        k, l_ = (wave.to(theta.device) * 2 * math.pi / self.length for wave in _waves(self))
        below, above = _structure(self, height, derivative=False)
        below_z, above_z = _structure(self, height, derivative=True)
        q0, q1 = self._spectrum(theta.to(torch.float64)).unbind(-3)
        psi = (below.to(theta.device) * q0 + above.to(theta.device) * q1) / self.kelvin
        inner = below_z.to(theta.device) * q0 + above_z.to(theta.device) * q1
        fields = self._field(torch.stack([-1j * l_ * psi, 1j * k[:, None] * psi, inner], dim=-3)).to(theta.dtype)
        u, v, theta_z = fields.unbind(-3)
        return u, v, theta_z

    def velocities(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """u and v at the boundaries, each [..., 2, points, points] in m s-1."""
        (u0, v0, _), (u1, v1, _) = self.interior(theta, 0.0), self.interior(theta, self.height)
        return torch.stack([u0, u1], dim=-3), torch.stack([v0, v1], dim=-3)

    def energy(self, theta: Tensor) -> Tensor:
        """Total energy per unit mass, (f/N)^2 / (2 H) <psi1 q1 - psi0 q0> of the waves kept, [...] in J kg-1."""
        q0, q1 = (self._spectrum(theta) / (self.kelvin * self.points**2)).unbind(-3)
        total: Tensor = torch.zeros((), dtype=theta.dtype, device=theta.device)
        for height, q, sign in ((0.0, q0, -1.0), (self.height, q1, 1.0)):
            below, above = (table.to(theta.device, theta.dtype) for table in _structure(self, height, derivative=False))
            total = total + sign * (_twice(self).to(theta) * (q.conj() * (below * q0 + above * q1)).real).sum((-2, -1))
        return self.coriolis**2 / (2 * self.stratification * self.height) * total

    # Spectral space: s [..., 2, x wave, y wave] is the transform of theta.

    def _spectrum(self, field: Tensor) -> Tensor:
        """Transform [..., y, x] and keep the x waves below the cutoff: [..., x wave, y wave]."""
        half = torch.fft.rfft(field)[..., : self.cutoff + 1]
        spectrum: Tensor = torch.fft.fft(half.transpose(-1, -2).contiguous()) * _mask(self, field.device)
        return spectrum

    def _field(self, spectrum: Tensor) -> Tensor:
        """The field [..., y, x] of a spectrum [..., x wave, y wave], zero beyond the cutoff."""
        rows = torch.fft.ifft(spectrum).transpose(-1, -2).contiguous()  # irfft is far slower on a transposed view.
        field: Tensor = torch.fft.irfft(rows, n=self.points)
        return field

    def _tendency(self, s: Tensor, tables: "_Tables") -> Tensor:
        """ds/dt by advection, relaxation and friction."""
        lower, upper = s[..., :1, :, :], s[..., 1:, :, :]
        winds = [torch.addcmul(below * lower, above, upper) for below, above in (tables.u, tables.v)]
        theta, u, v = torch.chunk(self._field(torch.cat([s, *winds], dim=-3)), 3, dim=-3)
        flux = torch.stack([u * theta, v * theta], dim=-4)
        half = torch.fft.rfft(flux)[..., : self.cutoff + 1]
        flux_x, flux_y = torch.fft.fft(half.transpose(-1, -2).contiguous()).unbind(-4)
        out = torch.addcmul(tables.forcing - tables.relaxation * s, tables.x, flux_x)
        out = torch.addcmul(out, tables.y, flux_y)
        if tables.friction is not None:
            below, above = tables.friction
            out = out + below * lower + above * upper
        return out

    def _runge_kutta(self, s: Tensor, tables: "_Tables") -> Tensor:
        """One time step: with e = exp(-nu K^n dt/2), the classical scheme for the tendency of exp(nu K^n t) s."""
        e, dt = tables.decay, self.dt
        k1 = self._tendency(s, tables)
        middle = e * s
        k2 = self._tendency(torch.addcmul(middle, e, k1, value=dt / 2), tables)
        k3 = self._tendency(torch.add(middle, k2, alpha=dt / 2), tables)
        k4 = self._tendency(e * torch.add(middle, k3, alpha=dt), tables)
        total = torch.add(torch.addcmul(middle, e, k1, value=dt / 6), k2 + k3, alpha=dt / 3)
        return torch.add(e * total, k4, alpha=dt / 6)


class _Tables(NamedTuple):
    """Multipliers of the spectrum [..., 2, x wave, y wave] that a time step needs, zero beyond the cutoff."""

    u: tuple[Tensor, Tensor]  # of the lower and of the upper theta: eastward wind at the boundaries [m s-1 K-1]
    v: tuple[Tensor, Tensor]  # the same for the northward wind
    x: Tensor  # -d/dx: tendency from the flux u theta
    y: Tensor  # -d/dy: tendency from the flux v theta
    forcing: Tensor  # transform of theta_e / tau
    relaxation: float  # 1 / tau
    decay: Tensor  # hyperdiffusion over half a time step
    friction: tuple[Tensor, Tensor] | None  # of the lower and of the upper theta


def _waves(model: SQG) -> tuple[Tensor, Tensor]:
    """Wavenumbers in waves per box, float64: x (0..cutoff) and y (in the order of the transform)."""
    along_y = torch.fft.fftfreq(model.points, 1 / model.points, dtype=torch.float64)
    return torch.arange(model.cutoff + 1, dtype=torch.float64), along_y


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # What is cached must serve gradients later.
def _mask(model: SQG, device: torch.device) -> Tensor:
    """1 where a wave is kept, 0 beyond the cutoff, [y wave]."""
    return (_waves(model)[1].abs() <= model.cutoff).to(torch.float32).to(device)


def _twice(model: SQG) -> Tensor:
    """How many waves of the full spectrum an x wave of the half spectrum stands for, [x wave, 1]."""
    return torch.where(_waves(model)[0] > 0, 2.0, 1.0)[:, None]


def _structure(model: SQG, height: float, *, derivative: bool) -> tuple[Tensor, Tensor]:
    """psi(z), or q(z) = psi_z(z), of a unit of q at the lower and the upper boundary, each [x wave, y wave]."""
    k, l_ = _waves(model)
    total = torch.sqrt(k[:, None] ** 2 + l_**2)
    m = total * 2 * math.pi / model.length * math.sqrt(model.stratification) * model.height / model.coriolis
    m[0, 0] = 1.0  # The mean of theta moves nothing; its own profile is linear, below.
    z = height / model.height

    def ratio(a: float, sign: float) -> Tensor:
        """cosh(m a) / sinh(m) or sinh(m a) / sinh(m), without overflow."""
        return (torch.exp(m * (a - 1)) + sign * torch.exp(-m * (a + 1))) / -torch.expm1(-2 * m)

    if derivative:
        below, above = ratio(1 - z, -1.0), ratio(z, -1.0)
        below[0, 0], above[0, 0] = 1 - z, z
    else:
        below, above = -model.height / m * ratio(1 - z, 1.0), model.height / m * ratio(z, 1.0)
        below[0, 0] = above[0, 0] = 0.0
    return below, above


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _tables(model: SQG, dtype: torch.dtype, device: torch.device) -> _Tables:
    """Multipliers, computed in float64 and kept in the precision of the state."""
    numbers = torch.complex128 if dtype == torch.float64 else torch.complex64
    keep = _mask(model, torch.device("cpu")).to(torch.float64)
    unit = 2 * math.pi / model.length
    k, l_ = _waves(model)
    ik, il = (1j * unit * k[:, None] * keep), (1j * unit * l_ * keep).expand(model.cutoff + 1, -1)
    at_lower, at_upper = (_structure(model, z, derivative=False) for z in (0.0, model.height))
    psi = [torch.stack(pair) / model.kelvin for pair in zip(at_lower, at_upper, strict=True)]  # of a K below, above
    shortest = torch.sqrt(k[:, None] ** 2 + l_**2) / model.cutoff
    friction = None
    if model.friction:
        sign = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]
        damping = model.friction * model.kelvin * unit**2 * (k[:, None] ** 2 + l_**2) * keep * sign
        friction = ((damping * psi[0]).to(device, dtype), (damping * psi[1]).to(device, dtype))
    decay = torch.exp(-(shortest**model.diffusion_order) * model.dt / (2 * model.diffusion_time)) * keep
    return _Tables(
        u=((-il * psi[0]).to(device, numbers), (-il * psi[1]).to(device, numbers)),
        v=((ik * psi[0]).to(device, numbers), (ik * psi[1]).to(device, numbers)),
        x=-ik.to(device, numbers),
        y=-il.to(device, numbers),
        forcing=(model._spectrum(model.equilibrium(torch.float64)) / model.relaxation).to(device, numbers),
        relaxation=1 / model.relaxation,
        decay=decay.to(device, dtype),
        friction=friction,
    )
