"""How an analysis is computed: history, priors, sampler, guidance, training."""

__all__ = [
    "AssimilateConfig",
    "EnsfConfig",
    "ForecastConfig",
    "GaussianConfig",
    "GuidanceConfig",
    "HistoryConfig",
    "LetkfConfig",
    "Method",
    "RolloutConfig",
    "SamplerConfig",
    "StormConfig",
    "TrainConfig",
    "WindowConfig",
]

from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field, field_validator, model_validator

from stormda.config.fields import Duration, InputPath, Section
from stormda.config.nwp import GivenPrior
from stormda.config.presets import PRESETS

Method: TypeAlias = Literal["storm", "gaussian", "kf", "oi", "letkf", "ensf"]
ForecastModel: TypeAlias = Literal["nature", "linear", "storm"]

_MODEL = "of the members; empty: the nature run in simulated worlds, else the linear inverse model"


class HistoryConfig(Section):
    """What the prior knows of the past."""

    source: Literal["analyses", "archive", "none"] = Field(
        "analyses", description="previous analyses of this run; the archive's frames; or a cold start each time"
    )
    first: Literal["none", "archive"] = Field("none", description="where the first cycle has no previous analysis")
    frames: int = Field(1, ge=1, le=8)
    max_age: Duration = np.timedelta64(24 * 3600, "s")
    archive_error: float = Field(0.0, ge=0, description="error of the archive's frames, share of the climatological sd")


class GaussianConfig(Section):
    """The closed-form prior: climatological covariance and a linear inverse model, in EOF space."""

    modes: int = Field(200, ge=1)
    season: Duration | None = Field(None, description="learn from days within this distance in the year; empty: all")
    ridge: float | None = Field(
        None, ge=0, description="of the linear inverse model, share of the mean mode variance; empty: cross-validated"
    )


class RimConfig(Section):
    """What a coarser model says of the rim of a regional domain, for a network that is told, and how it learns it.

    Where training and twin experiments make such a field, they make it of the archive's own.
    """

    width: int = Field(0, ge=0, description="points of the rim where the network is told it; 0: never")
    coarse: int = Field(4, ge=1, description="training: points of the grid along an axis in one of the coarser")
    error: float = Field(0.1, ge=0, description="training: of its values, in climatological standard deviations")
    dropout: float = Field(0.2, ge=0, lt=1, description="training: share of samples without, so that it may be missing")


class TransportConfig(Section):
    """A model of the flow, quadratic in the state, that takes the guess forward: for planes that wrap on every side."""

    steps: int = Field(0, ge=0, description="of fitting it, before the network is trained; 0: the linear inverse model")
    substeps: int = Field(4, ge=1, description="Runge-Kutta steps in one of the archive")
    errors: bool = Field(
        False, description="it takes errors forward too: two steps of it for each of storm.modes an analysis"
    )


class StormConfig(Section):
    """The STORM network: `weights` to use, and the architecture to train."""

    weights: str = Field("weights.safetensors", description="below run_dir unless absolute, or shipped:NAME")
    preset: Literal["nano", "10M", "200M", "10B"] | None = Field(
        None, description="size by name; keys that are given beside it win"
    )
    patch: int = Field(1, ge=1)
    width: int = Field(96, ge=16)
    blocks: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    modes: int = Field(100, ge=0, description="EOFs of the linear-Gaussian guess that it improves on; 0: persistence")
    background_modes: int = Field(
        200, ge=0, description="EOFs of the background error covariance, estimated when training ends; 0: none"
    )
    latents: int = Field(32, ge=0, description="latent tokens of the global attention; 0: none")
    tile: int = Field(0, ge=0, description="tokens of a tile along an axis; 0: softmax over everything")
    halo: int = Field(4, ge=0, description="tokens that a tile sees around it")
    dilation: int = Field(1, ge=1, description="of the tiles of every second block")
    rim: RimConfig = RimConfig()
    transport: TransportConfig = TransportConfig()

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, given: object) -> object:
        preset = PRESETS.get(str(given.get("preset"))) if isinstance(given, dict) else None
        return given if preset is None or not isinstance(given, dict) else preset.arguments() | given

    @model_validator(mode="after")
    def _divides(self) -> "StormConfig":
        if self.width % self.heads:
            raise ValueError(f"the width {self.width} is not a multiple of {self.heads} heads")
        if self.width % (4 * self.heads):
            raise ValueError(f"{self.width // self.heads} numbers a head (width / heads) are not a multiple of 4")
        if self.dilation > 1 and not self.tile:
            raise ValueError(f"a dilation of {self.dilation} needs tiles, and tile is 0")
        if self.transport.errors and (not self.transport.steps or not self.modes or self.background_modes):
            what = "transport.errors takes errors forward in the modes of the guess, by the model of the flow"
            raise ValueError(f"{what}: it needs transport.steps and modes above 0, and background_modes: 0")
        return self

    def arguments(self) -> dict[str, int]:
        """Those of `stormda.nn.storm.Storm` that the configuration decides."""
        size = {"patch": self.patch, "width": self.width, "blocks": self.blocks, "heads": self.heads}
        cut = {"tile": self.tile, "halo": self.halo, "dilation": self.dilation} if self.tile else {}
        told = {"strip": self.rim.width} if self.rim.width else {}
        return size | {"latents": self.latents} | cut | told


class SamplerConfig(Section):
    """How the reverse diffusion is integrated."""

    kind: Literal["dpm2m", "dpm2mx", "heun", "ancestral"] = Field(
        "dpm2m", description="dpm2mx: dpm2m whose last answer is extrapolated to zero noise"
    )
    steps: int = Field(24, ge=2)
    corrections: int = Field(0, ge=0, le=10, description="Langevin steps at every noise level, one denoiser call each")
    tau: float = Field(0.1, gt=0, lt=2, description="length of a Langevin step")
    sigma_min: float | None = Field(None, gt=0, description="empty: 0.2 of the smallest standardised observation error")
    sigma_max: float | None = Field(None, gt=0, description="empty: from the prior")
    rho: float = Field(7.0, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> "SamplerConfig":
        if self.sigma_min is not None and self.sigma_max is not None and self.sigma_min >= self.sigma_max:
            raise ValueError("sigma_min is not below sigma_max")
        return self


class GuidanceConfig(Section):
    """How observations enter the denoiser, and how a likelihood that is not Gaussian or an H that bends is treated."""

    kind: Literal["jfps", "mmps", "sda", "dps"] = Field(
        "jfps",
        description="error covariance from the linear-Gaussian guess, or (slower) the network's derivative; "
        "sda, dps: without one, to compare with",
    )
    derivative_below: float = Field(
        5.0, ge=0, description="mmps with storm: noise level below which the network's derivative is taken; jfps above"
    )
    tolerance: float = Field(1e-2, gt=0, lt=1)
    max_iterations: int = Field(20, ge=1)
    linearisations: int = Field(
        3, ge=1, le=10, description="jfps, mmps: of H at a noise level, at most; more than one only where H bends"
    )
    likelihood: Literal["gaussian", "huber", "student"] = Field(
        "gaussian", description="of observation errors; heavier tails (not with dps) forgive gross errors"
    )
    huber: float = Field(2.0, gt=0, description="error, in its standard deviations, beyond which huber pulls no harder")
    freedom: float = Field(4.0, gt=0, description="degrees of freedom of student")
    gamma: float = Field(0.1, ge=0, description="sda: error variance of the denoiser in units of the noise's")
    zeta: float = Field(1.0, gt=0, description="dps: length of a step")

    @model_validator(mode="after")
    def _possible(self) -> "GuidanceConfig":
        if self.kind == "dps" and self.likelihood != "gaussian":
            raise ValueError(f"dps knows no likelihood {self.likelihood}, only gaussian")
        return self


class LetkfConfig(Section):
    """The local ensemble transform Kalman filter."""

    model: ForecastModel | None = Field(None, description=_MODEL)
    radius: float | None = Field(
        None, gt=0, description="beyond it observations do not count; km, on a plane grid spacings; empty: 2500 or 16"
    )
    nearest: int | None = Field(None, ge=1, description="observations at most at a point, the nearest; empty: all")
    inflation: float = Field(1.0, gt=0, description="factor of the background's standard deviation")
    rtps: float = Field(0.0, ge=0, le=1, description="relaxation to the prior spread")
    rtpp: float = Field(0.0, ge=0, le=1, description="relaxation to the prior perturbations")


class EnsfConfig(Section):
    """The ensemble score filter."""

    model: ForecastModel | None = Field(None, description=_MODEL)
    form: Literal["member", "mixture"] = Field(
        "member", description="the score of each member's own reverse diffusion, or of a mixture around all members"
    )
    bandwidth: float = Field(0.025, gt=0, lt=1, description="kernel variance, share of the climatological one")
    steps: int = Field(100, ge=1, description="of the reverse diffusion")
    rtps: float = Field(0.0, ge=0, le=1, description="relaxation to the prior spread")


class AssimilateConfig(Section):
    """The analysis ensemble."""

    method: Method = "gaussian"
    prior: GivenPrior | None = Field(
        None, description="letkf, ensf: ensemble:PATH, members of any model at the analysis time; empty: their own"
    )
    background: InputPath | None = Field(
        None, description="storm, gaussian, kf, oi: files of a centre's own state at the analysis time, see nwp"
    )
    rim: InputPath | None = Field(
        None, description="storm: files of a coarser model's state at the analysis time, for storm.rim; see nwp"
    )
    ensemble: int = Field(32, ge=2)
    seed: int = Field(0, ge=0)
    pairs: bool = Field(
        False, description="storm, gaussian: members in pairs of opposite noise, for a mean with less sampling error"
    )
    step: Duration = Field(np.timedelta64(6 * 3600, "s"), description="between cycles of --from .. --to")
    batch: int = Field(32, ge=1, description="members at once; less memory when smaller")
    inflation: Literal["none", "innovations"] = Field(
        "none", description="storm: innovations: the background is as wide as those of the cycle say"
    )
    limit: float = Field(8.0, gt=0, description="sanity check: the analysis mean within this many climatological sd")
    report: bool = Field(False, description="report.html beside each analysis; verify and cycle run write it too")


class WindowConfig(Section):
    """The recent past drawn again with the observations that have come since: a smoother with a lag."""

    frames: int = Field(
        1, ge=1, le=64, description="L, analyses that are drawn together, the newest one included; 1: none again"
    )
    stride: int = Field(1, ge=1, description="cycles from one window to the next; 1: every cycle draws one")

    @model_validator(mode="after")
    def _gapless(self) -> "WindowConfig":
        if self.frames > 1 and self.stride > self.frames:
            what = f"windows of {self.frames} frames every {self.stride} cycles leave some frames out"
            raise ValueError(f"{what}: stride is at most frames")
        return self


class ForecastConfig(Section):
    """Forecasts from analyses."""

    model: Literal["own", "linear"] = Field(
        "own", description="the prior of the method; or the linear inverse model of the archive, the same for all"
    )
    rim: InputPath | None = Field(
        None, description="own, storm: files of a coarser model's states at the valid times, for storm.rim; see nwp"
    )


class RolloutConfig(Section):
    """Learning from the network's own analyses, one upon the other, as in a cycle of assimilation."""

    steps: int = Field(0, ge=0, le=8, description="analyses before the frame that is learned; 0: none")
    after: float = Field(0.5, ge=0, le=1, description="share of train.steps before it begins")
    share: float = Field(0.5, ge=0, le=0.9, description="of the samples of a batch")


class TrainConfig(Section):
    """Training of the STORM prior."""

    minutes: float | None = Field(None, gt=0, description="stop after this wall time")
    steps: int = Field(4000, ge=0, description="0: only estimate the background error covariance of train.start")
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warm_up: int = Field(200, ge=0)
    clip: float = Field(1.0, gt=0)
    average: float = Field(0.999, ge=0, lt=1, description="decay of the exponential moving average of the weights")
    history_dropout: float = Field(0.1, ge=0, le=1)
    history_error: tuple[float, float] = Field((0.01, 1.0), description="log-uniform, share of the climatological sd")
    seed: int = 0
    start: str | None = Field(None, description="weights to begin with, as storm.weights; empty: random ones")
    checkpoint_every: Duration = np.timedelta64(60, "s")
    validate_every: int = Field(250, ge=1)
    members: int = Field(8, ge=0, description="of the one-step ensembles at validation; 0: none")
    rollout: RolloutConfig = RolloutConfig()
    compile: bool = Field(False, description="through torch.compile: minutes at first, faster steps on a GPU")
    tensorboard: bool = Field(False, description="event files in training/events besides log.csv; needs tensorboard")
    memory: float = Field(
        4096, gt=0, description="MiB of fields to hold at once; a larger archive is read while training goes on"
    )
    patience: int | None = Field(
        None, ge=1, description="validations without a smaller loss after which training ends; empty: never"
    )

    @model_validator(mode="after")
    def _something(self) -> "TrainConfig":
        if self.steps == 0 and self.start is None:
            raise ValueError("no steps at all need weights to begin with: train.start")
        return self

    @field_validator("history_error")
    @classmethod
    def _positive(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("the range must be two positive numbers, the smaller one first")
        return value
