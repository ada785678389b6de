"""The STORM prior: a trained network as a denoiser, given the history and its error.

Where no frame of history is there, the same network is the climatological prior of the season and hour.
"""

__all__ = ["Blocks", "StormPrior", "bounded"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from stormda.assimilation.prior import signature_of
from stormda.diffusion.background import BackgroundError, widened
from stormda.diffusion.denoise import EDM
from stormda.diffusion.gaussian import Gaussian
from stormda.diffusion.guess import Guess, LinearGuess
from stormda.diffusion.history import History
from stormda.errors import CheckpointError, ConfigError
from stormda.grid import Grid
from stormda.layout import WHOLE, Layout
from stormda.nn.embedding import forcing
from stormda.nn.planes import Strip, rim
from stormda.nn.storm import Storm
from stormda.nn.weights import Weights, load_weights
from stormda.normaliser import Normaliser
from stormda.types import Denoise, Mapping2
from stormda.variables import Channel

_BLOCKS = "network.blocks."


class Blocks(Protocol):
    """How processes hold the blocks of a network together."""

    def block(self, *arguments: Any) -> nn.Module:
        """One of them, without its weights."""

    def fill(self, network: nn.Module, path: Path) -> None:
        """Read the weights of all of them from a file."""


@dataclass(eq=False)
class StormPrior:
    """A prior whose denoiser is a network; see the protocol `Prior` for the attributes.

    Args:
        model: the denoiser, in float32 as a rule; other precisions are converted on the way in and out.
        losses: validation loss by noise level, with history and without.
        background: error covariance of the backgrounds; None: that of the linear-Gaussian guess, scaled by the losses.
        strip: what a coarser model knows of the rim of the domain at the time of the state; None: nothing.
        layout: how fields are spread over processes; `model`, `background` and `strip` are of the part.
        basis: what `signature` says of the whole prior, where this is a part.
    """

    channels: tuple[Channel, ...]
    grid: Grid
    normaliser: Normaliser
    frames: int
    step: np.timedelta64
    sigma_max: float
    model: EDM
    losses: tuple[Mapping[float, float], Mapping[float, float]]
    background: BackgroundError | None = None
    strip: Strip | None = None
    layout: Layout = WHOLE
    basis: str | None = None
    _last: tuple[History, Guess] | None = field(default=None, init=False, repr=False)

    @classmethod
    def load(cls, path: Path, *, channels: Sequence[str] | None = None, blocks: Blocks | None = None) -> "StormPrior":
        """Read a weights file.

        Args:
            path: the file.
            channels: names that the job expects, in their order.
            blocks: of a network that processes hold together; None: this one holds it.

        Raises:
            InputMissing: no such file.
            CheckpointError: damaged, or of other channels or another architecture.
        """
        weights = load_weights(path, None if blocks is None else _BLOCKS)
        have = [c.name for c in weights.channels]
        if channels is not None and list(channels) != have:
            what = f"the weights are for channels {', '.join(have)}, not {', '.join(channels)}"
            raise CheckpointError(what, file=path, key="storm.weights", hint="stormda train, or change channels")
        try:
            return cls.of(weights, blocks, path)
        except (RuntimeError, TypeError, KeyError, ValueError) as error:
            what = "the tensors of the weights do not fit their architecture"
            raise CheckpointError(
                what, file=path, key="storm.weights", hint="train again with stormda train"
            ) from error

    @classmethod
    def of(cls, weights: Weights, blocks: Blocks | None = None, path: Path | None = None) -> "StormPrior":
        """Build the network and fill it; the tensors of `blocks` are those of the file."""
        t = weights.tensors
        made: dict[str, Any] = {} if blocks is None else {"block": blocks.block}
        network = Storm(
            len(weights.channels),
            weights.grid.shape,
            t["network.static"],
            periodic=weights.grid.periodic,
            **weights.architecture,
            **made,
        )
        guess = LinearGuess.of({name.removeprefix("guess."): t[name] for name in t if name.startswith("guess.")})
        model = EDM(network, guess)
        own = {name: value for name, value in t.items() if not name.startswith("background.")}
        absent, unknown = model.load_state_dict(own, strict=blocks is None)
        model.requires_grad_(False).eval()
        if blocks is not None and path is not None:
            if odd := [*unknown, *(name for name in absent if not name.startswith(_BLOCKS))]:
                raise KeyError(odd[0])
            blocks.fill(network, path)
        frames = int(weights.architecture["frames"])
        losses = _losses(weights.card, "loss at "), _losses(weights.card, "cold loss at ")
        about = {n.removeprefix("background."): value for n, value in t.items() if n.startswith("background.")}
        background = BackgroundError.of(about) if about else None
        return cls(
            weights.channels, weights.grid, weights.normaliser, frames, weights.step, weights.sigma[1], model, losses,
            background,
        )  # fmt: skip

    def on(self, device: str, precision: torch.dtype | None = None) -> "StormPrior":
        """Move its network to a device, and round products within it to another precision; returns itself."""
        self.model.to(device).precision = precision
        self._last = None  # It is where the model was.
        return self

    @property
    def signature(self) -> str | None:
        """Of the EOFs of the error covariance that is carried, by B or by the model of the flow."""
        if self.basis is not None or (self.background is None and not self._flows):
            return self.basis
        return signature_of(self.model.guess.modes if self.background is None else self.background.linear.modes)

    @property
    def _flows(self) -> bool:
        """Whether the guess has a model that takes errors forward."""
        transport = self.model.guess.transport
        return self.background is None and transport is not None and bool(transport.errors)

    def part(self, layout: Layout) -> "StormPrior":
        """The prior of this process's part of the grid: fields, histories and noise are those of the part."""
        strip, basis = self.strip, self.signature
        if strip is not None:
            rows, columns = layout.part(self.grid.shape)
            strip = Strip(strip.field_BCHW[..., rows, columns], strip.known_BCHW[..., rows, columns])
        background = None if self.background is None else self.background.part(layout)
        model = self.model.part(layout)
        return replace(self, model=model, background=background, strip=strip, layout=layout, basis=basis)

    def denoiser(self, history: History, time: np.datetime64) -> Denoise:
        """E[x | x_t, history] at `time`; a history of one mean a member, [B, K, C, H, W], comes with batches of B.

        Draws around a background are as wide as its errors, where these are known; a member's own past has none. Where
        a model of the flow has taken them here, the prior is their Gaussian around the network's background.
        """
        if self._taken(history):
            return replace(self.linear(history, time), mean=self._background(history, time)[0]).denoise
        past, dtype = self._there(*self._batched(history), self._season(time)), self._dtype
        guess = self._guess(history)

        def denoise(x_BCHW: Tensor, sigma: Tensor) -> Tensor:
            x, level = self._there(x_BCHW.to(dtype), sigma.to(dtype).reshape(1))
            d: Tensor = self.model(x, level, *past, self.layout, self.strip, guess)[0]
            return d.to(x_BCHW)

        if self.background is None or not bool(history.mask.any()) or history.mean.ndim == 5:
            return denoise
        return widened(denoise, self._background(history, time), float(self.background.width))

    def linear(self, history: History, time: np.datetime64) -> Gaussian:
        """The error covariance of the background around the linear-Gaussian guess, or that guess itself."""
        if self.background is None:
            here = self._guess(history).gaussian()
            return replace(here, mean=here.mean.cpu(), modes=here.modes.cpu(), covariance=here.covariance.cpu())
        known = None if history.covariance is None else history.covariance[None]
        guess: Guess = self.background(*self._batched(history), self._season(time), known, self.layout)
        return guess.gaussian()

    def climate(self) -> "StormPrior":
        """For guidance without any past: the guess and its losses know the climate, B the errors of backgrounds."""
        return replace(self, background=None, basis=self.signature)

    def share(self, history: History, sigma: float) -> float:
        """As estimated with the background errors, else the validation loss; 1 of a Gaussian."""
        if self._taken(history):
            return 1.0
        if self.background is not None:
            return self.background.share_at(sigma, bool(history.mask.any()))
        losses = self.losses[0] if bool(history.mask.any()) else self.losses[1]
        if not losses:
            return 1.0
        levels = sorted(losses)
        return float(np.interp(np.log(sigma), np.log(levels), [losses[level] for level in levels]))

    def carry(
        self, history: History, time: np.datetime64, operator: Mapping2, y: Tensor, variance: Tensor
    ) -> Tensor | None:
        """Posterior of the background error covariance, H linearised at the background."""
        if self.signature is None:
            return None
        mean = self._background(history, time)[0].double()
        return replace(self.linear(history, time), mean=mean).posterior(operator, y, variance)[1]

    def _background(self, history: History, time: np.datetime64) -> Tensor:
        """E[x | history], one a history [B, C, H, W]."""
        *past, season, level = self._there(
            *self._batched(history), self._season(time), torch.tensor([self.sigma_max], dtype=self._dtype)
        )
        guess = self._guess(history)
        b: Tensor = self.model(guess.mean, level, *past, season, self.layout, self.strip, guess)[0]
        return b.cpu()

    def _taken(self, history: History) -> bool:
        """Whether a model of the flow takes the errors of this past forward."""
        one = history.mean.ndim == 4 and history.covariance is not None
        return self._flows and one and bool(history.mask.any())

    def _guess(self, history: History) -> Guess:
        """That of a history, made once: a model of the flow takes its time. B carries its own covariance."""
        if self._last is None or self._last[0] is not history:
            known = history.covariance if self._taken(history) else None
            covariance = None if known is None else self._there(known[None])[0]
            guess: Guess = self.model.guess(*self._there(*self._batched(history)), covariance, layout=self.layout)
            self._last = history, guess
        return self._last[1]

    @property
    def _dtype(self) -> torch.dtype:
        return self.model.guess.modes.dtype

    def _there(self, *tensors: Tensor) -> list[Tensor]:
        """On the device of the network."""
        return [tensor.to(self.model.guess.modes.device) for tensor in tensors]

    def _season(self, time: np.datetime64) -> Tensor:
        return torch.as_tensor(forcing(np.asarray([time]))).to(self._dtype)

    def _batched(self, history: History) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, error [B, K, C, H, W] and mask [B, K]; B = 1 where all members share one history."""
        past = history.to(self._dtype)
        mean, error = (f if f.ndim == 5 else f[None] for f in (past.mean, past.error))
        return mean, error.expand_as(mean), past.mask.expand(len(mean), -1)


def bounded(prior: StormPrior, field_CHW: Tensor) -> StormPrior:
    """The prior of one time, told what a coarser model says of the rim of the domain.

    Args:
        prior: of a network that takes such a field (`storm.rim.width`).
        field_CHW: standardised, on the prior's grid.

    Raises:
        ConfigError: the network was built without.
    """
    network = prior.model.network
    width = int(network.strip) if isinstance(network, Storm) else 0
    if width == 0:
        hint = "weights that were trained with storm.rim.width above 0"
        raise ConfigError("the network takes no field at the rim of its domain", key="assimilate.rim", hint=hint)
    known = rim(prior.grid.shape, width, prior.grid.periodic)[None, None]
    return replace(prior, strip=Strip(field_CHW[None].float(), known))


def _losses(card: Mapping[str, Any], prefix: str) -> dict[float, float]:
    """The scores `<prefix> <sigma>`."""
    scores = card.get("scores", {})
    return {float(name.removeprefix(prefix)): value for name, value in scores.items() if name.startswith(prefix)}
