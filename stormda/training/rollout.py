"""Learning from the network's own analyses: the past of a sample as a cycle of assimilation would have left it.

The histories of `stormda.training.data` are analyses of a linear-Gaussian world. Those that the network will get in use
come from itself: their errors follow the flow of the day, pass from cycle to cycle, and are not Gaussian. A denoiser
makes such analyses in one call. D(x_k + sigma n; sigma, history) is the mean of the state given the history *and* white
observations of every point with an error of sigma: an analysis whose error does not depend on it (Berkson), just as
the mean of an ensemble, between one that is nearly perfect (sigma small) and a forecast (sigma large). So n frames of
the past are analysed one after the other, each from the one before,

    m_j = D(x_j + sigma n_j; sigma, m_{j-1}, e_{j-1}),    e_j^2 = a_c v_j

where v_j is the variance that the linear-Gaussian guess leaves and a_c, one number a channel, what is right of it on
average over the batch. Then the frame after them is learned as always. No gradient passes through the analyses (after
the push-forward of Brandstetter et al. 2022, https://arxiv.org/abs/2202.03376): a step costs n forward calls more, a
third of its price each.
"""

__all__ = ["Rollout", "own_analyses"]

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from stormda.training.data import Batch, Chain
from stormda.training.team import ALONE, Team


@dataclass(frozen=True)
class Rollout:
    """When to learn from own analyses.

    Args:
        steps: n, analyses one upon the other; 0: never.
        after: share of the steps of training before it begins.
        share: of the samples of a batch from then on.
    """

    steps: int = 0
    after: float = 0.5
    share: float = 0.5

    def samples(self, step: int, steps: int, batch: int) -> int:
        """How many samples of a batch have own analyses as their past, at a step of so many."""
        begun = self.steps > 0 and step >= self.after * steps
        return round(self.share * batch) if begun else 0


def draw_level(low: float, high: float, g: torch.Generator) -> float:
    """The error of observations of a batch, log-uniform: from one that leaves hardly an error to a forecast."""
    share = float(torch.rand(1, generator=g, device=g.device))
    return math.exp(math.log(low) + share * math.log(high / low))


@torch.no_grad()
def own_analyses(model: nn.Module, chain: Chain, sigma: float, g: torch.Generator, team: Team = ALONE) -> Batch:
    """The samples of a chain with K frames of history, the newest of which the model has analysed itself.

    Args:
        model: the denoiser.
        chain: B samples with K + n frames.
        sigma: error of the observations of every point.
        g: draws their errors.
        team: each analyses every n-th sample, and is told what is right of the errors of all.
    """
    mine = slice(team.number, None, team.count)
    whole, chain = chain.truth.shape, chain.cut(mine)
    batch, steps = chain.batch, whole[1]
    mean, error, mask = batch.mean.clone(), batch.error.clone(), batch.mask
    k = mask.shape[1] - steps
    level = torch.full((1,), sigma, device=mean.device)
    for j in range(steps):
        truth, there = chain.truth[:, j], mask[:, k + j, None, None, None]
        noise = torch.randn((whole[0], *truth.shape[1:]), generator=g, device=g.device)
        seen = truth + sigma * noise[mine]
        past = slice(j, j + k)
        d, variance = model(seen, level, mean[:, past], error[:, past], mask[:, past], chain.forcing[:, j])
        right = team.sum(torch.where(there, (d - truth).square() / variance, 0.0).mean(dim=(2, 3)).sum(dim=0))
        ratio = right / team.sum(there.float().sum()).clamp_min(1e-6)
        told = (variance * ratio.view(-1, 1, 1)).sqrt()
        mean[:, k + j] = torch.where(there, d, 0.0)
        error[:, k + j] = torch.where(there, told.clamp(1e-4, 1e4), 1.0)
    return replace(batch, mean=mean[:, steps:], error=error[:, steps:], mask=mask[:, steps:])
