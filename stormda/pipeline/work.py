"""What a pass of the network has to do, in five kinds of work that a machine does at rates of its own.

    matrix       FLOPs of projections, perceptrons and embeddings: large products
    attention    FLOPs of softmax in tiles and through latents: many small products
    moved        numbers read and written point by point: norms, gates, rotations, windows gathered, residuals
    weights      numbers of the weights, read once a pass however few tokens there are
    calls        streams (`stormda.nn.stream`) of a pass, each of which begins at a price

A forward pass does them once. Backward recomputes its pieces: with gradients of tokens and weights a training step is
1 + 1 + 2 forward passes; a product with the derivative, for guidance, 1 + 1 where weights are fixed; gradients alone,
after a forward pass, 3. Model FLOPs are those of `stormda.nn.flops`.
"""

__all__ = ["GRADIENTS", "PRODUCT", "TRAINING", "Work", "layer_work", "network_work"]

import math
from dataclasses import dataclass

from stormda.nn.attention import Attention
from stormda.nn.block import Block
from stormda.nn.flops import forward_flops
from stormda.nn.storm import Storm

GRADIENTS, PRODUCT, TRAINING = 3.0, 2.0, 4.0  # forward passes

_ATTENTION = 16.0  # numbers moved a token and width: projections, norms and rotations of q and k, merge of latents
_GATHER = 4.0  # keys and values of a window, read and written, for each of them
_BLOCK = 30.0  # FiLM twice, hidden units of the perceptron (4 wide, twice), residuals
_EMBED = 6.0  # a token of a variable before the pool
_STREAMS = 6  # streams of a block


@dataclass(frozen=True)
class Work:
    """See the module; each a number of its unit."""

    matrix: float
    attention: float
    moved: float
    weights: float
    calls: float

    def __add__(self, other: "Work") -> "Work":
        """Both."""
        return Work(*(a + b for a, b in zip(self.parts, other.parts, strict=True)))

    def __mul__(self, factor: float) -> "Work":
        """So many times as much."""
        return Work(*(factor * value for value in self.parts))

    @property
    def parts(self) -> tuple[float, float, float, float, float]:
        """In the order of the module."""
        return self.matrix, self.attention, self.moved, self.weights, self.calls

    @property
    def flops(self) -> float:
        """Model FLOPs."""
        return self.matrix + self.attention


def network_work(network: Storm) -> Work:
    """A forward pass of one state or window, whole on one rank."""
    rows, columns = network.patches.count
    places, width = rows * columns, network.places.out_features
    tokens = places * network.window
    attention, moved = 0.0, 0.0
    for block in network.blocks:
        assert isinstance(block, Block)
        for layer, times in ((block.attention, 1), (block.cross, network.window)):
            one = _attention(layer, tokens, times)
            attention += one
            moved += width * (_ATTENTION * tokens + _GATHER * _gathered(layer, tokens, times))
        moved += _BLOCK * tokens * width
    variables = network.embed.weight.shape[0] * network.window + network.embed_history.weight.shape[0]
    moved += _EMBED * places * width * variables
    weights = float(sum(p.numel() for p in network.parameters()))
    calls = _STREAMS * len(network.blocks) + 4.0
    return Work(forward_flops(network) - attention, attention, moved, weights, calls)


def layer_work(layer: Attention, tokens: int) -> Work:
    """A forward pass of self-attention over so many tokens."""
    attention = _attention(layer, tokens, 1)
    moved = layer.width * (_ATTENTION * tokens + _GATHER * _gathered(layer, tokens, 1))
    weights = float(sum(p.numel() for p in layer.parameters()))
    return Work(8.0 * tokens * layer.width**2, attention, moved, weights, 2.0)


def _attention(layer: Attention, tokens: int, times: int) -> float:
    pairs = tokens * tokens if layer.tiles is None else times * layer.tiles.pairs
    latents = 0 if layer.latents is None else layer.latents.shape[1]
    return 4.0 * layer.width * (pairs + 2.0 * latents * tokens)


def _gathered(layer: Attention, tokens: int, times: int) -> float:
    """Keys that are copied into windows."""
    if layer.tiles is None:
        return 0.0
    queries = max(1, min(tokens, _tile(layer)))
    return times * layer.tiles.pairs / queries


def _tile(layer: Attention) -> int:
    """Queries of a typical tile."""
    assert layer.tiles is not None
    axes = (layer.tiles.frames, layer.tiles.rows, layer.tiles.columns)
    return math.prod(max(run.queries_TQ.shape[1] for run in axis) for axis in axes)
