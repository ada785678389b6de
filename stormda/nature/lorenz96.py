"""The model of Lorenz (1996): waves around a circle of latitude, the smallest world with chaos like the weather's.

    dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - c x_i + F,      i = 0..d-1, periodic

The quadratic term is advection: alone it conserves the energy E = sum x_i^2 / 2 and fills phase space evenly (its
divergence is zero). The linear term is damping with c = 1, which defines the time unit as the damping time of five
days. F is the forcing. The uniform state x_i = F is steady and unstable beyond F = 8/9; with d = 40 and F = 8 the
flow is chaotic, errors double in about 0.4 units (two days) and 13 of the 40 Lyapunov exponents are positive. With
<.> the average over the attractor and i, the steady energy budget is <x^2> = F <x>; here <x> = 2.34 and the standard
deviation is 3.64.

Time is advanced by the classical Runge-Kutta scheme of fourth order; dt = 0.05 stands for six hours.

Sources: Lorenz (1996), "Predictability: a problem partly solved", ECMWF Seminar on Predictability, volume 1, 1-18,
reprinted at https://doi.org/10.1017/CBO9780511617652.004; Lorenz and Emanuel (1998), "Optimal sites for supplementary
weather observations", https://doi.org/10.1175/1520-0469(1998)055<0399:OSFSWO>2.0.CO;2.
"""

__all__ = ["Lorenz96"]

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.random import normal, stream
from stormda.variables import Channel


@dataclass(frozen=True)
class Lorenz96:
    """The Lorenz-96 model; a state is x [..., d], without unit.

    Args:
        d: number of variables on the circle, at least 4.
        forcing: F, units of x per time unit.
        dt: time step, in time units (0.05 is six hours).
        damping: c, per time unit; 1 in the model of Lorenz, 0 leaves a system without sources or sinks of energy.

    Raises:
        ConfigError: fewer than four variables, or a time step that is not positive.
    """

    d: int = 40
    forcing: float = 8.0
    dt: float = 0.05
    damping: float = 1.0

    def __post_init__(self) -> None:
        if self.d < 4:
            raise ConfigError(f"Lorenz-96 needs at least four variables, not {self.d}")
        if not self.dt > 0:
            raise ConfigError(f"the time step of Lorenz-96 must be positive, not {self.dt}")

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The one channel of a state: `x0`."""
        return (Channel("x", 0.0),)

    def grid(self) -> Grid:
        """One row at the equator with d columns around the globe, a plane that wraps in longitude."""
        return Grid(np.zeros(1), np.arange(self.d) * 360.0 / self.d, periodic=(False, True), plane=True)

    def tendency(self, x: Tensor) -> Tensor:
        """dx/dt, of the shape of x [..., d]."""
        ahead, behind, behind_2 = (x.roll(shift, -1) for shift in (-1, 1, 2))
        return (ahead - behind_2) * behind - self.damping * x + self.forcing

    def step(self, x: Tensor) -> Tensor:
        """The state [..., d] one time step later."""
        k1 = self.tendency(x)
        k2 = self.tendency(x + self.dt / 2 * k1)
        k3 = self.tendency(x + self.dt / 2 * k2)
        k4 = self.tendency(x + self.dt * k3)
        return x + self.dt / 6 * (k1 + 2 * (k2 + k3) + k4)

    def run(self, initial: Tensor, steps: int) -> Iterator[Tensor]:
        """Yield the state after each of `steps` time steps."""
        x = initial
        for _ in range(steps):
            x = self.step(x)
            yield x

    def initial(self, members: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Off the attractor: the steady state x_i = F plus standard normal noise, [members, d]."""
        noise = normal(seed, stream("lorenz96", "initial"), torch.arange(members), torch.arange(self.d))
        return (self.forcing + noise).to(dtype)

    def spin_up(self, x: Tensor, steps: int = 500) -> Tensor:
        """The state [..., d] after `steps`: by default 25 time units, e^-25 of the distance to the attractor."""
        for _ in range(steps):
            x = self.step(x)
        return x
