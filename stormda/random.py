"""Counter-based random numbers: a number is a pure function of what it is for.

Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3",
https://doi.org/10.1145/2063384.2063405) turns a 128-bit counter and a 64-bit key into 128 random bits. The key is the
seed; the counter is (stream, member, point): so member 7 at grid point 12 gets the same number whatever the batch,
the order, the number of members, the number of processes or the device, and a process can make just its own part of a
global field.
"""

__all__ = ["normal", "stream", "uniform"]

import hashlib
import math

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def stream(*words: object) -> int:
    """A 32-bit number for what the random numbers are for, such as `stream("noise", "2019-02-17T12Z", step)`."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, words)).encode()).digest()[:4], "little")


def _mulhilo(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a 32 x 32 bit product, in int64 without overflow."""
    low16, high16 = b & 0xFFFF, b >> 16
    t = a * low16  # < 2^48
    u = a * high16 + (t >> 16)  # < 2^49
    return u >> 16, ((u & 0xFFFF) << 16) | (t & 0xFFFF)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Ten rounds of Philox-4x32 on int64 tensors that hold 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        h0, l0 = _mulhilo(_M0, c0)
        h1, l1 = _mulhilo(_M1, c2)
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def _words(seed: int, stream: int, members: Tensor, points: Tensor) -> tuple[Tensor, ...]:
    b = members.to(torch.int64)[:, None].expand(-1, len(points))
    p = points.to(torch.int64)[None, :].expand(len(members), -1)
    counter = (p & _MASK, p >> 32, b & _MASK, torch.full_like(p, stream & _MASK))
    return philox(counter, (seed & _MASK, (seed >> 32) & _MASK))


def uniform(seed: int, stream: int, members: Tensor, points: Tensor) -> Tensor:
    """Uniform numbers in (0, 1), float64 [B, P], for member numbers [B] and global point numbers [P]."""
    w0, w1, _, _ = _words(seed, stream, members, points)
    return (((w0 >> 5) * 67108864 + (w1 >> 6)).to(torch.float64) + 0.5) / 9007199254740992.0


def normal(seed: int, stream: int, members: Tensor, points: Tensor) -> Tensor:
    """Standard normal numbers (Box and Muller 1958), float64 [B, P], for members [B] and global points [P]."""
    w0, w1, w2, w3 = _words(seed, stream, members, points)
    u = (((w0 >> 5) * 67108864 + (w1 >> 6)).to(torch.float64) + 0.5) / 9007199254740992.0
    v = (((w2 >> 5) * 67108864 + (w3 >> 6)).to(torch.float64) + 0.5) / 9007199254740992.0
    return torch.sqrt(-2.0 * torch.log(u)) * torch.cos(2.0 * math.pi * v)
