"""Which denoiser a configuration means."""

import pytest
import torch
from pydantic import ValidationError

from stormda.assimilation.posterior import guided
from stormda.config import GuidanceConfig, SamplerConfig, load
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guidance.dps import dps
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.guidance.robust import huber, student
from stormda.diffusion.guidance.sda import sda
from stormda.errors import ConfigError

GAUSSIAN = Gaussian(
    torch.zeros(1, 1, 3).double(), torch.eye(3).double(), torch.diag(torch.tensor([4.0, 2, 1])).double()
)
X, SIGMA = torch.tensor([[1.0, -2.0, 0.5]]).double().view(1, 1, 1, 3), torch.tensor(0.7, dtype=torch.float64)


class Given:
    """A prior, and a problem for it."""

    history = None
    time = None
    y, variance = torch.tensor([9.0, 0.1]).double(), torch.tensor([0.1, 0.4]).double()

    def operator(self, x: torch.Tensor) -> torch.Tensor:
        return torch.arctan(x.flatten(1)[:, :2])

    def denoiser(self, history: object, time: object) -> object:
        return GAUSSIAN.denoise

    def linear(self, history: object, time: object) -> Gaussian:
        return GAUSSIAN

    def share(self, history: object, sigma: float) -> float:
        return 0.5


def ours(**keys: object) -> torch.Tensor:
    given = Given()
    return guided(given, given, GuidanceConfig(**keys))()(X, SIGMA)  # type: ignore[arg-type]


def test_each_key_reaches_its_place() -> None:
    g = Given()
    data = GAUSSIAN.denoise, g.operator, g.y, g.variance
    assert torch.equal(ours(kind="sda", gamma=0.3), sda(*data, gamma=0.3)(X, SIGMA))
    robust = sda(*data, gamma=0.3, weight=student(3.0))(X, SIGMA)
    assert torch.equal(ours(kind="sda", gamma=0.3, likelihood="student", freedom=3.0), robust)
    assert torch.equal(ours(kind="dps", zeta=2.0), dps(*data, zeta=2.0)(X, SIGMA))

    def made(**solver: object) -> torch.Tensor:
        return jfps(*data, GAUSSIAN, share=lambda _: 0.5, **solver)(X, SIGMA)  # type: ignore[arg-type]

    assert torch.equal(ours(linearisations=1), made())
    assert torch.equal(ours(), made(linearisations=3)) and not torch.equal(ours(), made())
    assert torch.equal(ours(likelihood="huber", huber=1.5, linearisations=1), made(weight=huber(1.5)))


@pytest.mark.parametrize(
    ("override", "key", "what"),
    [
        ("guidance.kind=spd", "guidance.kind", "did you mean 'sda'|one of jfps, mmps, sda, dps"),
        ("guidance.likelihood=cauchy", "guidance.likelihood", "gaussian, huber, student"),
        ("guidance.linearisations=0", "guidance.linearisations", "greater than or equal to 1"),
        ("sampler.tau=2", "sampler.tau", "less than 2"),
        ("sampler.corrections=-1", "sampler.corrections", "greater than or equal to 0"),
        ("sampler.kind=ancestor", "sampler.kind", "did you mean 'ancestral'"),
    ],
)
def test_what_cannot_be_is_said(override: str, key: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        load(None, [override], {"channels": ["msl"]})
    assert error.value.key == key


def test_dps_has_no_robust_likelihood() -> None:
    with pytest.raises(ValidationError, match="dps knows no likelihood huber"):
        GuidanceConfig(kind="dps", likelihood="huber")
    assert SamplerConfig(kind="ancestral", corrections=2).tau == 0.1
