"""What goes into a token: planes of a field, cut into patches a few rows at a time, and a strip known at the rim.

A plane is a field [H, W] of one channel: the noisy state, what a guess makes of it, a frame of the past. Planes and
channels are cut into patches together and regrouped, so that each variable brings the numbers of all its planes. On a
long grid that happens in pieces, within the stream that embeds them: all patches at once would be larger than the
tokens that are made of them.

A regional domain may be told what a coarser model says of its rim (`Strip`): two more planes, the field and where it
is known.
"""

__all__ = ["Cut", "Strip", "rim", "signs"]

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stormda.nn.embedding import Patches


@dataclass(frozen=True, eq=False)
class Strip:
    """A field that is known on a part of the domain, such as its rim, at the time of the state.

    Args:
        field_BCHW: standardised as the state, on its grid; of any value where it is not known.
        known_BCHW: true where it is; of a shape that extends to that of the field, such as [1, 1, H, W].
    """

    field_BCHW: Tensor
    known_BCHW: Tensor

    def planes(self) -> Tensor:
        """The field, zero where it is not known, and where it is: [B, 2, C, H, W]."""
        known = self.known_BCHW.expand_as(self.field_BCHW)
        field = self.field_BCHW.masked_fill(~known, 0.0)
        return torch.stack([field, known.to(field.dtype)], dim=1)

    def __getitem__(self, some: slice) -> "Strip":
        """Of some members."""
        return Strip(self.field_BCHW[some], self.known_BCHW[some] if len(self.known_BCHW) > 1 else self.known_BCHW)

    def __add__(self, other: "Strip") -> "Strip":
        """Of the members of both, each of which has a mask of its own."""
        fields = torch.cat([self.field_BCHW, other.field_BCHW])
        return Strip(fields, torch.cat([self.known_BCHW, other.known_BCHW]))

    def flat(self, members: int) -> "Strip":
        """Frames of a window [B, L, C, H, W], B = 1 or `members`, as members [members L, C, H, W]."""
        field = self.field_BCHW.expand(members, *self.field_BCHW.shape[1:])
        return Strip(field.flatten(0, 1), self.known_BCHW.expand_as(field).flatten(0, 1))


def rim(shape: tuple[int, int], width: int, periodic: tuple[bool, bool] = (False, False)) -> Tensor:
    """Which points [H, W] lie within `width` points of an edge of the domain; an axis that wraps has none."""
    h, w = (torch.arange(n) for n in shape)
    row, column = (
        (i < width) | (i >= len(i) - width) if not wraps else torch.zeros(len(i), dtype=torch.bool)
        for i, wraps in zip((h, w), periodic, strict=True)
    )
    return row[:, None] | column


class Cut(nn.Module):
    """Padded rows of P x C planes, rows first [B, r, P C, .], to numbers of patches [B, n, C, P x window]."""

    def __init__(self, patches: Patches, planes: int) -> None:
        super().__init__()
        self.patches, self.planes = patches, planes

    def forward(self, x: Tensor) -> Tensor:
        """Regroup: the planes of a channel side by side."""
        cut = self.patches.windows(x.transpose(1, 2))
        b, p = len(cut), self.planes
        return cut.reshape(b, cut.shape[1], p, cut.shape[2] // p, -1).transpose(2, 3).flatten(3)


def signs(odd: Sequence[bool], channels: int, vectors: Sequence[int]) -> Tensor:
    """By what to multiply planes x channels across a pole, [P C]: -1 for `vectors` in planes that change sign."""
    sign = torch.ones(len(odd), channels)
    for plane, changes in enumerate(odd):
        if changes:
            sign[plane, list(vectors)] = -1.0
    return sign.flatten()
