"""A posterior drawn on an accelerator beside the processor, a thousand members of a large network, and what takes time.

Rows, each with the seconds it took: members of the shipped `sqg` drawn with the same noise on the processor and on the
device, in float32 and with products in bfloat16, and how far they are apart in climatological standard deviations;
1,024 members of the preset 10M, untrained, on the same grid; and the three costliest operations of a call of it.
"""

__all__ = ["Posterior", "posterior_rows"]

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stormda.assimilation.ensemble import draw
from stormda.assimilation.storm_prior import StormPrior
from stormda.diffusion.denoise import EDM
from stormda.diffusion.guidance.jfps import jfps
from stormda.diffusion.history import History
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.nn.storm import Storm

TIME = 946_728_000  # s since 1970, any


@dataclass(frozen=True)
class Posterior:
    """What is drawn: `few` members of shipped weights, `many` of a network of a size, from so many observations."""

    weights: str = "sqg"
    few: int = 16
    many: int = 1024
    batch: int = 64
    steps: int = 16
    observations: int = 2048
    size: tuple[int, int, int, int] = (256, 6, 4, 64)  # width, blocks, heads, latents


def posterior_rows(asked: Posterior, folder: Path, device: str, known: int, stop: Callable[[], bool]) -> list[Any]:
    """The rows from number `known` on, until `stop`."""
    prior = StormPrior.load(folder / f"{asked.weights}.safetensors")
    first: list[Tensor] = []

    def beside(where: str, precision: torch.dtype | None) -> dict[str, Any]:
        if not first:
            first.append(_drawn(prior.on("cpu"), asked, asked.few)[0])
        members, seconds = _drawn(prior.on(where, precision), asked, asked.few)
        apart = (members - first[0]).abs()
        return {"seconds": seconds, "members": asked.few, "apart_max": float(apart.max()), "apart": float(apart.mean())}

    def thousand() -> dict[str, Any]:
        large = _large(prior, asked).on(device, _half(device))
        return {"members": asked.many, "seconds": _drawn(large, asked, asked.many)[1]}

    rows: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("processor", lambda: beside("cpu", None)),
        ("device, float32", lambda: beside(device, None)),
        ("device, bfloat16", lambda: beside(device, torch.bfloat16)),
        ("many members", thousand),
        ("profile", lambda: _profile(_large(prior, asked).on(device, _half(device)), asked, device)),
    ]
    done = []
    for what, measured in rows[known:]:
        if stop():
            break
        done.append({"what": what} | measured())
    return done


def _half(device: str) -> torch.dtype | None:
    return torch.bfloat16 if device == "cuda" else None


def _large(prior: StormPrior, asked: Posterior) -> StormPrior:
    """The prior with an untrained network of another size."""
    width, blocks, heads, latents = asked.size
    old = prior.model.network
    assert isinstance(old, Storm)
    torch.manual_seed(0)
    network = Storm(
        len(prior.channels), prior.grid.shape, old.static, periodic=prior.grid.periodic, frames=prior.frames, patch=2,
        width=width, blocks=blocks, heads=heads, latents=latents, tile=8, halo=4,
    )  # fmt: skip
    model = EDM(network.requires_grad_(False).eval(), deepcopy(prior.model.guess))
    return replace(prior, model=model)


def _drawn(prior: StormPrior, asked: Posterior, members: int) -> tuple[Tensor, float]:
    """Members of the posterior of random points, from a past without error, and seconds."""
    g = torch.Generator().manual_seed(1)
    shape = (len(prior.channels), *prior.grid.shape)
    time = np.datetime64(TIME, "s")
    mean = torch.randn(prior.frames, *shape, generator=g)
    history = History(mean, torch.full_like(mean, 0.3), torch.ones(prior.frames, dtype=torch.bool))
    points = torch.randperm(mean[0].numel(), generator=g)[: asked.observations]
    y, variance = mean[-1].flatten()[points], torch.full((len(points),), 0.01)
    gaussian, denoise = prior.linear(history, time), prior.denoiser(history, time)

    def seen(z: Tensor) -> Tensor:
        return z.flatten(1)[:, points]

    def share(sigma: float) -> float:
        return prior.share(history, sigma)

    start = perf_counter()
    drawn = draw(
        dpm2m, lambda: jfps(denoise, seen, y, variance, gaussian, share=share), shape,
        karras(0.05, prior.sigma_max, asked.steps), range(members), seed=0, stream=1, batch=min(asked.batch, members),
    )  # fmt: skip
    return drawn, round(perf_counter() - start, 2)


def _profile(prior: StormPrior, asked: Posterior, device: str) -> dict[str, Any]:
    """The three operations that take most of a call of the network."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU]
    with profile(activities=kinds) as made:
        seconds = _drawn(prior, replace(asked, steps=1), min(asked.batch, asked.many))[1]
    key = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    events = sorted(made.key_averages(), key=lambda e: -getattr(e, key))
    total = sum(getattr(e, key) for e in events)
    return {"seconds": seconds, "costliest": [[e.key, round(getattr(e, key) / total, 3)] for e in events[:3]]}
