"""Langevin corrections: let a state settle at its noise level before it goes on to the next.

    x <- x + tau (D(x; sigma) - x) + sqrt(2 tau) sigma n,     n ~ N(0, I)

is a step of length tau sigma^2 along the score (D - x) / sigma^2, whose stationary distribution is that of x_t (Song et
al. 2021, https://arxiv.org/abs/2011.13456, algorithm 2; Rozet and Louppe 2023, https://arxiv.org/abs/2306.10574,
algorithm 4). Errors of earlier steps are forgotten, where D is right, at one call of the denoiser a correction. The
step is not infinitely short: for a Gaussian of variance v the stationary variance is

    (v + sigma^2) / (1 - tau q / 2),     q = sigma^2 / (v + sigma^2)

so noise is too large by a share of tau / 2 where little but noise is left.
"""

__all__ = ["UNCORRECTED", "Langevin", "Sampler", "Stir", "still"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor

from stormda.types import Denoise

Stir: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(x_BCHW, s) -> x + s n with fresh standard normal n, at every call another one; s is 0-d."""


def still(x_BCHW: Tensor, s: Tensor) -> Tensor:
    """The `Stir` of a sampler that needs no noise but its first."""
    raise ValueError("this sampler needs noise at every step, and none is given")


@dataclass(frozen=True)
class Langevin:
    """Corrections at a noise level.

    Args:
        corrections: how many; 0 leaves a sampler as it is.
        tau: length of a step, below 2.
    """

    corrections: int = 0
    tau: float = 0.1

    def __call__(self, denoise: Denoise, x_BCHW: Tensor, sigma: Tensor, stir: Stir) -> Tensor:
        """The corrected state."""
        x = x_BCHW
        for _ in range(self.corrections):
            x = stir(x + self.tau * (denoise(x, sigma) - x), math.sqrt(2 * self.tau) * sigma)
        return x


UNCORRECTED = Langevin()
"""No corrections at all."""


class Sampler(Protocol):
    """Draws a batch by reverse diffusion; one function a file in `stormda.diffusion.sample`."""

    @property
    def __name__(self) -> str:
        """Its name in the configuration."""

    def __call__(
        self,
        denoise: Denoise,
        noise_BCHW: Tensor,
        sigmas: Tensor,
        stir: Stir = still,
        langevin: Langevin = UNCORRECTED,
    ) -> Tensor:
        """Draw a batch.

        Args:
            denoise: E[x | x_t] of the prior or of a posterior.
            noise_BCHW: standard normal.
            sigmas: falling noise levels [steps + 1], the last one 0.
            stir: adds noise, where the sampler or its corrections need more than the first.
            langevin: corrections at every level but the first.

        Returns:
            x_BCHW.
        """
