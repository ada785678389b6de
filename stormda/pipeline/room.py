"""How much memory a member takes while it is drawn, and how much a process has: what the mesh is chosen from.

A member that does not fit into one process is cut (`stormda.distributed.mesh.choose`). Only that counts: where a batch
of several is too large and one of them is not, fewer are drawn at once.
"""

__all__ = ["COPIES", "HELD", "drawn", "member_bytes", "room"]

import math

from stormda.config import Config
from stormda.pipeline import build

COPIES = 9.0  # of the tokens in a pass without gradients; measured on 260,000 and 1,040,000 tokens: 8.5
HELD = 12.0  # of the tokens in a block whose graph is kept: counted in `stormda.nn.block`
_PLANES = 12.0  # numbers of a point and channel of the state, and of a frame of history: planes, patches with rims


def drawn(numbers: float, points: float, blocks: int, graph: bool, size: int = 4) -> float:
    """Bytes of a sample in a pass of the network.

    Args:
        numbers: of all its tokens together.
        points: of all its channels, frames of history included.
        blocks: of the network.
        graph: whether it is kept, for gradients or for products of the guidance.
        size: bytes of a number of a token.
    """
    return (COPIES + HELD * blocks * graph) * numbers * size + _PLANES * 4 * points


def member_bytes(config: Config) -> float:
    """Of a member of an analysis; 0 where it cannot be cut, so that there is nothing to choose.

    Raises:
        InputMissing, CheckpointError: the weights are not there, or damaged.
    """
    from stormda.nn.weights import load_weights
    from stormda.pipeline.parts import impossible

    if impossible(config, "tile"):
        return 0.0
    weights = load_weights(build.weights_path(config), "")  # no tensor of the network
    network, (h, w) = weights.architecture, weights.grid.shape
    if not network.get("tile"):
        return 0.0
    patch = int(network["patch"])
    tokens = math.ceil(h / patch) * math.ceil(w / patch)
    points = h * w * len(weights.channels) * (1 + int(network["frames"]))
    graph = config.guidance.kind != "jfps"
    return drawn(tokens * float(network["width"]), points, int(network["blocks"]), graph)


def room(processes: int, device: str) -> float:
    """Bytes for this process: what its accelerator has left, or its share of what this host has left.

    Args:
        processes: of this command on this host.
        device: `cpu` or `cuda`.
    """
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0])
    import psutil

    return psutil.virtual_memory().available / max(1, processes)
