"""What a network is worth on a period that it does not learn from, always on the same draws.

    loss                  denoising error in units of what the linear-Gaussian guess leaves; mean over noise levels
    loss at <sigma>       the same at one level; `cold loss at <sigma>` without any history
    rmse <channel>        one-step mean forecasts from a nearly known past, in climatological standard deviations
    cycled loss, rmse     the same from a past that the network has analysed itself (`stormda.training.rollout`)
    crps, spread/skill    of small one-step ensembles from the same past (`stormda.training.ensemble`)

Beside them, what needs no network: persistence of the anomaly, and the linear-Gaussian guess itself.
"""

__all__ = ["Validation"]

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stormda.diffusion.denoise import EDM
from stormda.training.data import Batch, Chain, Sampler
from stormda.training.ensemble import draw_members, ensemble_scores
from stormda.training.loss import NoiseDensity, denoising_error, draw_noise
from stormda.training.rollout import own_analyses
from stormda.training.samples import Samples, draw_samples

_KNOWN = 0.01  # error of a frame that is as good as known, in climatological standard deviations
_LEVELS, _SAMPLES, _FORECASTS = 8, 32, 96  # noise levels, samples a level, mean forecasts
_OBSERVED = 1.0  # error of the observations of every point that own analyses are made of
_ENSEMBLES = 12  # of the forecasts: with eight members of ten calls each as costly as twice all the rest


class Validation:
    """A function of the model: its scores.

    Args:
        sampler: of the validation period.
        names: of the channels.
        density: of the training, for the noise levels.
        weights_HW: area weights, mean 1.
        seed: of the draws.
        members: of the ensembles; 0 or 1: none.
        longer: of the same period, for pasts that the network analyses itself; None: without.
        share: of these in `loss`.
    """

    def __init__(
        self,
        sampler: Sampler,
        names: Sequence[str],
        density: NoiseDensity,
        weights_HW: Tensor,
        seed: int,
        members: int = 8,
        *,
        longer: Sampler | None = None,
        share: float = 0.0,
    ) -> None:
        device = sampler.series.fields.device
        g = torch.Generator(device).manual_seed(seed + 777)
        self.names, self.weights, self.density = names, weights_HW, density
        self.sets = []
        for level in density.levels(_LEVELS):
            batch = sampler.draw(_SAMPLES, g)
            self.sets.append((float(level), batch, draw_noise(batch, g)))
        follow = torch.as_tensor(np.flatnonzero(sampler.series.past(1)[:, 0] >= 0), device=device)
        follow = follow if len(follow) else torch.arange(len(sampler.series.targets), device=device)
        last = len(follow) - 1  # Spread evenly, at no whole number of steps: all hours take part.
        chosen = follow[torch.linspace(0, last, min(last + 1, _FORECASTS), device=device).round().long()]
        self.forecast = sampler.known(chosen, _KNOWN)
        self.noise, self.seed = draw_noise(self.forecast, g), seed
        self.times = sampler.series.times[sampler.series.targets[chosen.cpu().numpy()]]
        there = torch.nonzero(self.forecast.mask[:, -1])[:, 0].tolist()
        self.cases = there[:: max(1, len(there) // _ENSEMBLES)][:_ENSEMBLES] if members > 1 else []
        shape = (members, *self.forecast.x.shape[1:])
        self.chain, self.share = longer.chain(_SAMPLES, g) if longer else None, share
        self.draws = [torch.randn(shape, generator=g, device=device) for _ in self.cases]

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The scores by name, `loss` first."""
        assert isinstance(model, EDM)
        scores = {}
        for level, batch, noise in self.sets:
            sigma = torch.full((len(batch.x),), level, device=batch.x.device)
            for name, known in (("loss at", batch), ("cold loss at", batch.forgotten())):
                error = denoising_error(model, known, sigma, noise, self.weights)
                scores[f"{name} {level:.3g}"] = float(error.mean())
        mean = self._mean_forecast(model, self.forecast, self.noise)
        loss = _mean(scores, "loss at")
        if self.chain is not None:
            scores = self._cycled(model, self.chain) | scores
            loss = (1 - self.share) * loss + self.share * _mean(scores, "cycled loss at")
        return (
            {"loss": loss} | self._named("rmse", self._rmse(mean - self.forecast.x)) | self._ensembles(model) | scores
        )

    def linear(self, model: EDM) -> dict[str, float]:
        """The scores of the linear-Gaussian guess that `model` improves on."""
        with torch.no_grad():
            return self(EDM(_Silent(), model.guess))

    def persistence(self) -> dict[str, float]:
        """RMSE of the forecast that the anomaly stays as it was; its CRPS is its mean absolute error."""
        error = self.forecast.mean[:, -1] - self.forecast.x
        scores = self._named("rmse", self._rmse(error))
        if self.cases:
            absolute = (error[self.cases].abs() * self.weights).mean(dim=(0, 2, 3))
            scores |= self._named("crps", absolute)
        return scores

    def samples(self, model: EDM) -> Samples:
        """Fields to look at: the forecast in the middle of the period."""
        middle = len(self.times) // 2
        sigma = self.density.sigma_min, self.density.sigma_max
        return draw_samples(model, self.forecast.sample(middle), self.times[middle], sigma, self.seed)

    def _mean_forecast(self, model: EDM, b: Batch, noise: Tensor) -> Tensor:
        level = self.density.sigma_max
        sigma = torch.full((1,), level, device=b.x.device)
        mean: Tensor = model(b.x + level * noise, sigma, *b.told)[0]
        return mean

    def _cycled(self, model: EDM, chain: Chain) -> dict[str, float]:
        """Scores from a past that the model has analysed itself, from observations as good as a typical analysis."""
        g = torch.Generator(chain.truth.device).manual_seed(self.seed + 778)
        batch = own_analyses(model, chain, _OBSERVED, g)
        scores = {}
        for level, _, noise in self.sets:
            sigma = torch.full((len(batch.x),), level, device=batch.x.device)
            error = denoising_error(model, batch, sigma, noise, self.weights)
            scores[f"cycled loss at {level:.3g}"] = float(error.mean())
        error = self._mean_forecast(model, batch, self.sets[0][2]) - batch.x
        return self._named("cycled rmse", self._rmse(error)) | scores

    def _ensembles(self, model: EDM) -> dict[str, float]:
        if not self.cases:
            return {}
        sigma = self.density.sigma_min, self.density.sigma_max
        pairs = zip(self.cases, self.draws, strict=True)
        members = torch.stack([draw_members(model, self.forecast.sample(i), noise, sigma) for i, noise in pairs])
        crps, spread_skill = ensemble_scores(members, self.forecast.x[self.cases], self.weights)
        return self._named("crps", crps) | self._named("spread/skill", spread_skill)

    def _rmse(self, error_BCHW: Tensor) -> Tensor:
        return (error_BCHW.square() * self.weights).mean(dim=(0, 2, 3)).sqrt()

    def _named(self, what: str, values_C: Tensor) -> dict[str, float]:
        return {f"{what} {name}": float(value) for name, value in zip(self.names, values_C, strict=True)}


def _mean(scores: Mapping[str, float], prefix: str) -> float:
    values = [value for name, value in scores.items() if name.startswith(prefix)]
    return sum(values) / len(values)


class _Silent(nn.Module):
    """A network that adds nothing to the guess."""

    def forward(self, state_BPCHW: Tensor, *_: object, **told: object) -> Tensor:
        return torch.zeros_like(state_BPCHW[:, 0])
