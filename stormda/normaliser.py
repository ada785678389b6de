"""Between physical fields and the standardised anomalies that every prior works on.

    z = (T(x) - m(t)) / s

T is the variable's transform (`log` of a humidity), m(t) the climatology: at every point a mean with annual and diurnal
harmonics fitted by least squares, s one standard deviation of the anomaly a channel. The scale is one number a channel,
not one a point, so that covariances between points keep their physical proportions.
"""

__all__ = ["Normaliser"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stormda.errors import InputError
from stormda.layout import WHOLE, Layout
from stormda.types import Array
from stormda.variables import Channel, Transform

_YEAR_DAYS = 365.2425
_EDGE = 1e-6  # a fraction is clamped to this distance from 0 and 1 before its logit


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Transforms, climatology and scale of C channels on an H x W grid.

    Args:
        channels: C channels.
        coefficients: [F, C, H, W], of every product of an annual and a diurnal harmonic (`_basis`).
        sd: [C], standard deviation of the transformed anomaly.
        annual, diurnal: how many harmonics; F = (1 + 2 annual) (1 + 2 diurnal).
    """

    channels: tuple[Channel, ...]
    coefficients: Array
    sd: Array
    annual: int
    diurnal: int

    def __post_init__(self) -> None:
        if self.coefficients.shape[:2] != ((1 + 2 * self.annual) * (1 + 2 * self.diurnal), len(self.channels)):
            raise InputError("the climatology does not fit its channels or harmonics")
        if not (np.isfinite(self.coefficients).all() and np.isfinite(self.sd).all() and (self.sd > 0).all()):
            bad = [c.name for c, s in zip(self.channels, self.sd, strict=True) if not s > 0]
            raise InputError(
                f"the climatology is not finite or a channel never varies{': ' + ', '.join(bad) if bad else ''}"
            )

    @classmethod
    def fit(
        cls,
        chunks: Iterable[tuple[Array, Array]],
        channels: tuple[Channel, ...],
        annual: int,
        diurnal: int,
        weights: Array,
    ) -> "Normaliser":
        """Fit to an archive that may be larger than memory.

        Args:
            chunks: (values [T, C, H, W] in physical units, times [T]), gone through once.
            channels: C channels.
            annual, diurnal: harmonics; those that the times cannot tell apart get the smallest coefficients that fit.
            weights: area weights [H, W] with mean 1, for `sd`.

        Raises:
            InputError: no times at all, or a channel that never varies.
        """
        features = (1 + 2 * annual) * (1 + 2 * diurnal)
        gram, squares, count = np.zeros((features, features)), np.zeros(len(channels)), 0
        moment: Array | float = 0.0
        for values, times in chunks:
            b_TF = _basis(times, annual, diurnal)
            x = _forward_array(values, channels).astype(np.float64)
            gram += b_TF.T @ b_TF
            moment = moment + np.einsum("tf,tchw->fchw", b_TF, x)
            squares += np.einsum("tchw,hw->c", x**2, weights)
            count += len(times)
        if count == 0:
            raise InputError("the archive has no times in the training period", key="archive.train")
        moment = np.asarray(moment)
        coefficients = np.einsum("fg,gchw->fchw", np.linalg.pinv(gram, rcond=1e-10, hermitian=True), moment)
        explained = np.einsum("fchw,fchw,hw->c", coefficients, moment, weights)
        variance = (squares - explained) / (count * weights.sum())
        scale = squares / (count * weights.sum())
        sd = np.sqrt(np.where(variance > 1e-12 * np.maximum(scale, 1e-300), variance, 0.0))
        return cls(channels, coefficients, sd, annual, diurnal)

    def mean(self, times: Array) -> Array:
        """The climatology m(t) in transformed units, [T, C, H, W] for times [T]."""
        return np.asarray(
            np.einsum("tf,fchw->tchw", _basis(np.atleast_1d(times), self.annual, self.diurnal), self.coefficients)
        )

    def encode(self, values: Array, times: Array) -> Array:
        """Physical [S, C, H, W] at times [S] or [1] -> standardised anomalies of the same shape."""
        return np.asarray((_forward_array(values, self.channels) - self.mean(times)) / self.sd[:, None, None])

    def decoder(self, time: np.datetime64, layout: Layout = WHOLE) -> "Decoder":
        """The differentiable way back at one time, of this process's part of a field."""
        return Decoder(self, time, layout)

    def decode(self, z: Array, time: np.datetime64) -> Array:
        """Standardised [S, C, H, W] -> physical, at one time."""
        return np.asarray(self.decoder(time)(torch.as_tensor(z)).numpy())

    def arrays(self) -> dict[str, Array]:
        """What a file must hold to build it again."""
        return {
            "climatology_coefficients": self.coefficients,
            "anomaly_sd": self.sd,
            "harmonics": np.array([self.annual, self.diurnal]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], channels: tuple[Channel, ...]) -> "Normaliser":
        """The inverse of `arrays`."""
        annual, diurnal = (int(n) for n in arrays["harmonics"])
        coefficients = np.asarray(arrays["climatology_coefficients"], dtype=np.float64)
        return cls(channels, coefficients, np.asarray(arrays["anomaly_sd"], dtype=np.float64), annual, diurnal)


class Decoder:
    """x = T^-1(m(t) + s z) at one time: z_BCHW -> x_BCHW, differentiable, on the device and in the precision of z."""

    def __init__(self, normaliser: Normaliser, time: np.datetime64, layout: Layout = WHOLE) -> None:
        self.channels = normaliser.channels
        mean = normaliser.mean(np.asarray([time]))[0]
        rows, columns = layout.part((mean.shape[-2], mean.shape[-1]))
        self.mean = torch.as_tensor(mean[:, rows, columns])
        self.sd = torch.as_tensor(normaliser.sd)[:, None, None]

    def __call__(self, z: Tensor) -> Tensor:
        x = self.mean.to(z) + self.sd.to(z) * z
        if all(c.info.transform is Transform.IDENTITY for c in self.channels):
            return x
        return torch.stack([_inverse(x[..., i, :, :], c) for i, c in enumerate(self.channels)], dim=-3)


def _basis(times: Array, annual: int, diurnal: int) -> Array:
    """[T, F]: every product of an annual and a diurnal harmonic, for the daily cycle has seasons."""
    seconds = np.asarray(times).astype("datetime64[s]").astype(np.int64)
    year = _harmonics(seconds / (86400.0 * _YEAR_DAYS), annual)
    day = _harmonics(seconds / 86400.0, diurnal)
    return np.asarray(np.einsum("ta,td->tad", year, day).reshape(len(seconds), -1))


def _harmonics(phase: Array, count: int) -> Array:
    """[T, 1 + 2 count]: 1, then cosine and sine of each harmonic."""
    angles = 2 * np.pi * phase[:, None] * np.arange(1, count + 1)
    return np.concatenate([np.ones((len(phase), 1)), np.cos(angles), np.sin(angles)], axis=1)


def clamped(values: Array, channels: tuple[Channel, ...]) -> int:
    """How many values lie outside the bounds of their variable's transform (axis -3 counts channels)."""
    count = 0
    for i, c in enumerate(channels):
        x = values[..., i, :, :]
        if c.info.transform in (Transform.LOG, Transform.SQRT, Transform.LOGIT):
            count += int((x < 0).sum())
        if c.info.transform is Transform.LOGIT:
            count += int((x > 1).sum())
    return count


def _forward_array(values: Array, channels: tuple[Channel, ...]) -> Array:
    if all(c.info.transform is Transform.IDENTITY for c in channels):
        return np.asarray(values)
    return np.stack([_forward(values[..., i, :, :], c) for i, c in enumerate(channels)], axis=-3)


def _forward(x: Array, channel: Channel) -> Array:
    kind, offset = channel.info.transform, channel.info.offset
    if kind is Transform.LOG:
        return np.asarray(np.log(np.maximum(x, 0.0) + offset))
    if kind is Transform.SQRT:
        return np.asarray(np.sqrt(np.maximum(x, 0.0)))
    if kind is Transform.LOGIT:
        p = np.clip(x, _EDGE, 1 - _EDGE)
        return np.asarray(np.log(p / (1 - p)))
    return x


def _inverse(y: Tensor, channel: Channel) -> Tensor:
    kind, offset = channel.info.transform, channel.info.offset
    if kind is Transform.LOG:
        return (torch.exp(y) - offset).clamp_min(0.0)
    if kind is Transform.SQRT:
        return y.clamp_min(0.0) ** 2
    if kind is Transform.LOGIT:
        return torch.sigmoid(y)
    return y
