"""Weather in a box: surface quasi-geostrophic turbulence that carries moisture and rains.

The turbulence (sqg.py) gives wind and potential temperature at every height. At the height z_q of the clouds a mixing
ratio q is carried by that wind,

    q_t + u . grad q = (h q_s - q) / tau_e - c,   c = max(q - q_s, 0) / tau_c,   R = rho D c

q_s(T, p) is saturation there (Bolton 1980, https://doi.org/10.1175/1520-0493(1980)108<1046:TCOEPT>2.0.CO;2), with
T = theta (p / 1000 hPa)^kappa and theta = theta_ref (1 + N^2 z / g) + the anomaly of the turbulence, p that of the
standard atmosphere. Air is moistened towards the relative humidity h in the time tau_e; where it comes into colder
surroundings than where it has got its moisture, what is too much falls out in tau_c. R [mm h-1] is the rain of a cloud
of depth D, the same in the column below; its reflectivity is that of Marshall and Palmer, Z = 200 R^1.6.

The moisture does not act on the turbulence: no latent heat. Advection is pseudo-spectral like that of theta, with waves
up to a third of the points and the wind of the beginning of a step, in steps of fourth order; the mean of q over the
box changes by evaporation and rain alone. Small negative values of truncated waves are set to 0.

A state is [..., 3, y, x]: theta at the lower and upper boundary [K], q [kg kg-1].
"""

__all__ = ["Weather"]

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stormda.errors import ConfigError
from stormda.nature.sqg import DAY, GRAVITY, SQG, THETA_REF

_KAPPA = 0.2857
_T0, _P0, _LAPSE = 288.15, 1013.25, 0.0065  # ICAO standard atmosphere at mean sea level: K, hPa, K m-1
_EXPONENT = 9.80665 / (287.05287 * _LAPSE)
_DENSITY = 1.0  # kg m-3, of the air in the cloud


@dataclass(frozen=True)
class Weather:
    """Moist weather over a box.

    Args:
        sqg: the turbulence below it.
        cloud: z_q, height at which moisture is carried [m].
        depth: D, of the cloud that rains [m].
        humidity: h, relative humidity that air is moistened to.
        moistening: tau_e [s].
        condensation: tau_c [s].
    """

    sqg: SQG = field(default_factory=SQG)
    cloud: float = 1500.0
    depth: float = 3000.0
    humidity: float = 0.9
    moistening: float = 2 * DAY
    condensation: float = 3600.0

    def initial(self, theta: Tensor) -> Tensor:
        """A state with the moisture that the air of `theta` [..., 2, y, x] has at the relative humidity h."""
        return torch.cat([theta, (self.humidity * self.saturation(theta)).unsqueeze(-3)], dim=-3)

    def advance(self, state: Tensor, seconds: float) -> Tensor:
        """The state `seconds` later, a whole number of time steps of the turbulence; ConfigError if it is none."""
        steps = round(seconds / self.sqg.dt)
        if abs(steps * self.sqg.dt - seconds) > 1e-6 * self.sqg.dt:
            raise ConfigError(f"{seconds:g} s is no whole number of time steps of {self.sqg.dt:g} s")
        theta, q = state[..., :2, :, :], state[..., 2, :, :]
        for _ in range(steps):
            u, v, _ = self.sqg.interior(theta, self.cloud)
            theta = self.sqg.step(theta)
            q = self._sources(self._carried(q, u, v), self.saturation(theta))
        return torch.cat([theta, q.unsqueeze(-3)], dim=-3)

    def rain(self, state: Tensor) -> Tensor:
        """Rain rate [..., y, x] in mm h-1."""
        excess = state[..., 2, :, :] - self.saturation(state[..., :2, :, :])
        return 3600.0 * _DENSITY * self.depth * excess.clamp(min=0.0) / self.condensation

    def temperature(self, theta: Tensor, height: float) -> Tensor:
        """Temperature [..., y, x] at a height [m], in K."""
        profile = THETA_REF * (1.0 + self.sqg.stratification * height / GRAVITY)
        total = profile + self.sqg.interior(theta, height)[2]
        return torch.as_tensor(total * (pressure(height) / 1000.0) ** _KAPPA)

    def saturation(self, theta: Tensor) -> Tensor:
        """q_s at the height of the clouds, [..., y, x] in kg kg-1."""
        celsius = self.temperature(theta, self.cloud) - 273.15
        vapour = 6.112 * torch.exp(17.67 * celsius / (celsius + 243.5))
        return 0.622 * vapour / (pressure(self.cloud) - 0.378 * vapour)

    def _sources(self, q: Tensor, saturated: Tensor) -> Tensor:
        """Moistening, then rain, over one step, both exact for constant q_s."""
        wanted = self.humidity * saturated
        q = wanted + (q - wanted) * math.exp(-self.sqg.dt / self.moistening)
        over = (q - saturated).clamp(min=0.0)
        return (q - over * -math.expm1(-self.sqg.dt / self.condensation)).clamp(min=0.0)

    def _carried(self, q: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """q after one step of advection: classical Runge-Kutta."""
        dt, n = self.sqg.dt, self.sqg.points
        number = torch.fft.fftfreq(n, 1.0 / n, dtype=q.dtype, device=q.device)
        keep = (number.abs() <= self.sqg.cutoff).to(q.dtype)
        wave = 1j * number * keep * (2.0 * math.pi / self.sqg.length)
        both = keep[:, None] * keep

        def tendency(field: Tensor) -> Tensor:
            """-div(u q): what leaves one point arrives at another."""
            flux_x, flux_y = torch.fft.fft2(u * field), torch.fft.fft2(v * field)
            divergence: Tensor = torch.fft.ifft2((wave * flux_x + wave[:, None] * flux_y) * both).real
            return -divergence

        q = torch.fft.ifft2(torch.fft.fft2(q) * both).real
        k1 = tendency(q)
        k2 = tendency(q + 0.5 * dt * k1)
        k3 = tendency(q + 0.5 * dt * k2)
        k4 = tendency(q + dt * k3)
        return q + dt / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)


def pressure(height: float) -> float:
    """Pressure [hPa] of the standard atmosphere at a height [m] in the troposphere."""
    return float(_P0 * (1.0 - _LAPSE * height / _T0) ** _EXPONENT)
