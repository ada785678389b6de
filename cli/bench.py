"""`stormda bench`: what parts of stormda cost, how far a network looks, what its past and its samplers are worth."""

__all__ = ["app"]

from pathlib import Path
from typing import Annotated

import typer

from . import failure, options
from .bench_machine import io, scaling, train
from .command import Setup, command
from .console import Console
from .sizes import Blocks, Channels, Device, Dtype, Frames, More, Patch, Preset, Shape

app = typer.Typer(no_args_is_help=True, help="Measure what parts of stormda cost on this machine.")


@app.command()
@command
def attention(
    *,
    preset: Preset = "10M",
    tokens: Annotated[
        list[int] | None,
        typer.Option("--tokens", metavar="N", help="How many tokens; several may follow.", show_default="4096 16384"),
    ] = None,
    more: More = None,
    tile: Annotated[
        int | None, typer.Option("--tile", metavar="N", help="Tokens of a tile along an axis.", show_default="preset's")
    ] = None,
    halo: Annotated[
        int | None, typer.Option("--halo", metavar="N", help="Tokens around a tile.", show_default="preset's")
    ] = None,
    latents: Annotated[
        int | None, typer.Option("--latents", metavar="N", help="Latent tokens.", show_default="preset's")
    ] = None,
    softmax_up_to: Annotated[
        int, typer.Option("--softmax-up-to", metavar="N", help="Beyond, softmax is extrapolated.")
    ] = 16384,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", help="The fastest of N counts.")] = 3,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Time and peak memory of one self-attention layer, tiles with latents beside softmax over everything.

    Example: stormda bench attention --preset 10M --tokens 4096 16384 65536 262144 --json
    """
    from stormda.pipeline.bench import attention as stage

    with console.progress() as progress:
        result = stage(
            preset,
            [*(tokens or ()), *(more or ())] or [4096, 16384],
            tile=tile,
            halo=halo,
            latents=latents,
            softmax_up_to=softmax_up_to,
            repeats=repeats,
            device=device,
            dtype=dtype,
            dry_run=dry_run,
            progress=progress,
        )
    console.result(result)


@app.command()
@command
def frame(
    *,
    preset: Preset = "10M",
    shape: Shape = "721x1440",
    channels: Channels = 6,
    frames: Frames = 2,
    patch: Patch = 2,
    blocks: Blocks = None,
    direction: Annotated[
        str, typer.Option("--direction", metavar="NAME", help="forward, or backward: with all gradients.")
    ] = "forward",
    device: Device = "cpu",
    dtype: Dtype = "float32",
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Time, peak memory and FLOPs of one global state through the network, beside the rate of matrix products.

    Example: stormda bench frame --preset 10M --shape 721x1440 --channels 6 --frames 2 --patch 2 --json
    """
    from stormda.pipeline.bench_frame import frame as stage

    with console.progress() as progress:
        result = stage(
            preset,
            shape,
            channels=channels,
            frames=frames,
            patch=patch,
            blocks=blocks,
            direction=direction,
            device=device,
            dtype=dtype,
            dry_run=dry_run,
            progress=progress,
        )
    console.result(result)


@app.command()
@command
def reach(
    *,
    weights: Annotated[
        list[Path], typer.Option("--weights", metavar="FILE", help="Weights; --weights may be there several times.")
    ],
    sigma: Annotated[
        float, typer.Option("--sigma", metavar="X", help="Noise level, in climatological standard deviations.")
    ] = 1.0,
    tokens: Annotated[int, typer.Option("--tokens", metavar="N", help="How many tokens are asked.")] = 16,
    members: Annotated[int, typer.Option("--members", metavar="N", help="At how many states.")] = 4,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of states, noise and tokens.")] = 0,
    console: Console,
) -> None:
    """How far a trained network looks: gradients between far tokens, as trained and as softmax over everything.

    Example: stormda bench reach --weights runs/europe/weights.safetensors --json
    """
    from stormda.pipeline.bench_reach import reach as stage

    with console.progress() as progress:
        result = stage(weights, sigma=sigma, asked=tokens, members=members, seed=seed, progress=progress)
    console.result(result)


@app.command()
@command
def pair(
    *,
    setup: Setup,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Of each training.")] = 2000,
    plain: Annotated[bool, typer.Option("--plain", help="A third network: softmax alone, without latents.")] = False,
    samples: Annotated[int, typer.Option("--samples", metavar="N", help="Of the comparison, a noise level.")] = 64,
    tokens: Annotated[int, typer.Option("--tokens", metavar="N", help="How many are asked how far they look.")] = 16,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Train the network with its tiles and the same with softmax over everything, and compare loss and reach.

    It may be stopped at any moment and goes on when it is started again. Writes bench/pair/STEPS/ in the run.

    Example: stormda bench pair -c examples/sqg/attention.yaml --steps 2000
    """
    config = setup.load()
    from stormda.pipeline.bench_pair import pair as stage

    with failure.patient() as stop:
        with console.progress() as progress:
            result = stage(
                config,
                steps=steps,
                plain=plain,
                samples=samples,
                tokens=tokens,
                dry_run=dry_run,
                progress=progress,
                stop=stop,
            )
        console.result(result)


@app.command()
@command
def copy(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="For checkpoints, logs and copy.json.")] = Path(
        "runs/bench-copy"
    ),
    side: Annotated[int, typer.Option("--side", metavar="N", help="Tokens along an axis, even.")] = 8,
    pairs: Annotated[int, typer.Option("--pairs", metavar="N", help="Values to copy.")] = 1,
    tile: Annotated[int, typer.Option("--tile", metavar="N", help="Tokens of a tile along an axis.")] = 2,
    halo: Annotated[int, typer.Option("--halo", metavar="N", help="Tokens around a tile.")] = 0,
    latents: Annotated[int, typer.Option("--latents", metavar="N", help="Latent tokens.")] = 16,
    width: Annotated[int, typer.Option("--width", metavar="N", help="Of the networks.")] = 32,
    blocks: Annotated[int, typer.Option("--blocks", metavar="N", help="Of the networks.")] = 2,
    heads: Annotated[int, typer.Option("--heads", metavar="N", help="Of the networks.")] = 4,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Of each training.")] = 1600,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of weights and draws.")] = 0,
    console: Console,
) -> None:
    """Train small networks to copy values across half the domain: tiles with latents, softmax, tiles alone.

    It may be stopped at any moment and goes on when it is started again.

    Example: stormda bench copy --json
    """
    from stormda.pipeline.bench_copy import copy as stage

    with failure.patient() as stop:
        with console.progress() as progress:
            result = stage(
                out,
                side=side,
                pairs=pairs,
                tile=tile,
                halo=halo,
                latents=latents,
                width=width,
                blocks=blocks,
                heads=heads,
                steps=steps,
                seed=seed,
                progress=progress,
                stop=stop,
            )
        console.result(result)


@app.command()
@command
def past(
    *,
    setup: Setup,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="storm, gaussian or kf; may be repeated.",
            show_default="storm, gaussian",
        ),
    ] = None,
    curve: Annotated[
        list[str] | None,
        typer.Option(
            "--curve",
            metavar="NAME",
            help="frames, age, error, told or cycles; may be repeated.",
            show_default="all",
        ),
    ] = None,
    ensemble: options.Ensemble = None,
    times: Annotated[int, typer.Option("--times", metavar="N", help="Analyses that a point is the mean of.")] = 20,
    error: Annotated[
        float,
        typer.Option("--error", metavar="X", help="Of the history, share of the climatological standard deviation."),
    ] = 0.3,
    starts: Annotated[int, typer.Option("--starts", metavar="N", help="Cold starts.")] = 3,
    cycles: Annotated[int, typer.Option("--cycles", metavar="N", help="Cycles after a cold start.")] = 12,
    after: Annotated[int, typer.Option("--after", metavar="N", help="Cycles after one that is missing.")] = 6,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Skill with few frames of history, an old one, a wrong one, a wrong error level, a cold start, a missing cycle.

    In the world of the section twin, beside the climatological prior. Writes bench/past.json and past.png in the run.

    Example: stormda bench past -c config.yaml storm.weights=shipped:north-america --ensemble 16
    """
    config = setup.load({"assimilate.ensemble": ensemble})
    from stormda.pipeline.bench_past import past as stage
    from stormda.pipeline.past_curves import CURVES

    with console.progress() as progress:
        result = stage(
            config,
            chosen=tuple(method or ("storm", "gaussian")),
            curves=tuple(curve or CURVES),
            times=times,
            error=error,
            starts=starts,
            cycles=cycles,
            after=after,
            dry_run=dry_run,
            progress=progress,
        )
    console.result(result)


@app.command()
@command
def sampler(
    *,
    dimension: Annotated[int, typer.Option("--dimension", metavar="N", help="Points of the ring.")] = 100,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--sampler",
            metavar="NAME",
            help="dpm2m, dpm2mx, heun or ancestral; may be repeated.",
            show_default="all",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Draw cost against accuracy, PNG.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the observed points and values.")] = 0,
    dry_run: options.DryRun = False,
    console: Console,
) -> None:
    """Accuracy of guidance and samplers against their cost, exactly, where prior and posterior are Gaussian.

    No network and no archive are needed: spread and mean against the Kalman posterior, in float64.

    Example: stormda bench sampler --picture samplers.png --json
    """
    from stormda.pipeline.bench_sampler import sampler as stage

    with console.progress() as progress:
        result = stage(
            dimension, kinds=tuple(kind or ()), picture=picture, seed=seed, dry_run=dry_run, progress=progress
        )
    console.result(result)


for _verb in (train, io, scaling):
    app.command()(_verb)
