"""Model FLOPs: the multiplications and additions of the matrix products of a forward pass, two a pair of numbers.

    projection    2 N d_in d_out
    attention     2 x 2 (pairs) D: scores, and their sum of values; pairs = tokens that softmax connects
    latents       2 x 2 x 2 N M D: they read all tokens, all tokens read them

What is added up point by point (norms, gates, rotations, softmax itself) is not counted, nor what is computed twice to
save memory: shares of the rate of matrix products are shares of useful work. A backward pass counts twice a forward
pass, as gradients of tokens and of weights are a product each.
"""

__all__ = ["forward_flops"]

from stormda.nn.attention import Attention
from stormda.nn.block import Block
from stormda.nn.storm import Storm


def forward_flops(network: Storm) -> int:
    """Of one state, or one window of states, with its history."""
    rows, columns = network.patches.count
    n, width = rows * columns, network.places.out_features
    pool = 2 * width * width  # multiplications of keys and values of one token
    c, f, _ = network.embed.weight.shape
    history, g, _ = network.embed_history.weight.shape
    once = history * (g * width + pool) + network.places.in_features * width
    each = c * (f * width + pool) + width * network.head.out_features
    total = 2 * n * (once + network.window * each)
    for block in network.blocks:
        assert isinstance(block, Block)
        tokens = network.window * n
        total += 2 * tokens * 8 * width * width + 10 * network.window * width * width  # perceptron; film and gate
        total += _attention(block.attention, tokens, tokens, tokens * tokens)
        total += _attention(block.cross, tokens, n, network.window * n * n, network.window)
    return total


def _attention(layer: Attention, queries: int, keys: int, pairs: int, times: int = 1) -> int:
    """`pairs` without tiles; tiles of the keys are looked at `times` times."""
    latents = 0 if layer.latents is None else layer.latents.shape[1]
    looked = pairs if layer.tiles is None else times * layer.tiles.pairs
    projections = 2 * 2 * (queries + keys) * layer.width**2  # q and out; k and v
    return projections + 4 * looked * layer.width + 4 * latents * (queries + keys) * layer.width
