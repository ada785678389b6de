"""What it costs to cut one member over several processes: T(1 process) / T(n processes) of a call of the network.

    python benchmarks/tiles.py --processes 2 --tokens 256 1024 --width 128 --blocks 4 --pairs 20

A pair is a call by process 0 alone, while the others wait, and the same call by all, each with its part; the order
changes from pair to pair, the first pair is left out. With --guided a call is a forward and a product with its
derivative. Where all processes share one core, the best ratio is 1. The second ratio is of processor seconds, which do
not depend on who else wants the core. Besides: bytes and messages of a process a call by kind, the seconds that it
waited for others (a late neighbour included), and how many of clustered observations each process has. Prints JSON.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from stormda.distributed.tiled import Tiled, Traffic
from stormda.layout import WHOLE, Layout
from stormda.nn.storm import Storm

_CHANNELS = 4


def main() -> None:
    """Read the command line, start the processes, print what the first one measured."""
    parser = argparse.ArgumentParser(description="T(1 process) / T(n processes) of a call of the network.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tokens", type=int, nargs=2, default=(256, 256), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--latents", type=int, default=32)
    parser.add_argument("--tile", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--guided", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_measure, (folder, given), nprocs=given.processes, start_method="fork")


def _measure(rank: int, folder: str, given: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder}/store"
    dist.init_process_group("gloo", where, rank=rank, world_size=given.processes, timeout=timedelta(hours=1))
    grid = given.tokens[0], given.tokens[1]
    layout = Tiled(grid, (1, 1))
    net = _network(grid, given)
    alone = _call(net, grid, WHOLE, given.guided) if rank == 0 else _nothing
    parts = _call(net, grid, layout, given.guided)
    pairs = []
    for number in range(given.pairs + 1):
        if number == 1:
            layout.traffic.clear()
        both = {name: _clock(call) for name, call in [("1", alone), ("n", parts)][:: -1 if number % 2 else 1]}
        pairs.append((both["1"], both["n"]))
    if rank == 0:
        json.dump(_facts(given, layout, pairs[1:], grid), sys.stdout, indent=2)
        print()
    else:
        _clustered(layout, grid)


def _facts(given: argparse.Namespace, layout: Tiled, pairs: list[Any], grid: tuple[int, int]) -> dict[str, Any]:
    def each(traffic: Traffic) -> dict[str, float]:
        n = len(pairs)
        return {
            "messages": traffic.messages / n,
            "bytes": traffic.bytes / n,
            "waited, s": round(traffic.seconds / n, 4),
        }

    return {
        "parts": f"{layout.parts[0]} x {layout.parts[1]} of {grid[0]} x {grid[1]} tokens",
        "network": f"width {given.width}, {given.blocks} blocks, {given.latents} latents, tiles of {given.tile}",
        "call": "forward and a product with the derivative" if given.guided else "forward",
        "pairs": len(pairs),
        "T(1), s": _quartiles([a[0] for a, _ in pairs]),
        "T(n), s": _quartiles([b[0] for _, b in pairs]),
        "T(1) / T(n)": _quartiles([a[0] / b[0] for a, b in pairs]),
        "processor seconds, 1 / n": _quartiles([a[1] / b[1] for a, b in pairs]),
        "of process 0, a call": {kind: each(traffic) for kind, traffic in layout.traffic.items() if kind != "plans"},
        "most loaded process, shares of the mean": _clustered(layout, grid),
        "load": os.getloadavg()[1],
    }


def _network(grid: tuple[int, int], given: argparse.Namespace) -> Storm:
    torch.manual_seed(0)
    size: dict[str, Any] = {"width": given.width, "blocks": given.blocks, "latents": given.latents, "tile": given.tile}
    static = torch.randn(5, *grid)
    net = Storm(_CHANNELS, grid, static, periodic=(False, True), frames=2, patch=1, heads=given.width // 32, **size)
    torch.nn.init.normal_(net.head.weight, std=0.1)
    return net.requires_grad_(False)


def _nothing() -> None:
    """What the others do while process 0 works alone."""


def _call(net: Storm, grid: tuple[int, int], layout: Layout, guided: bool) -> Callable[[], None]:
    rows, columns = layout.part(grid)
    shape = rows.stop - rows.start, columns.stop - columns.start
    state = torch.randn(1, 5, _CHANNELS, *shape).requires_grad_(guided)
    past = torch.randn(1, 2, _CHANNELS, *shape)
    rest = torch.zeros(1), past, past.abs(), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 4)

    def call() -> None:
        with torch.set_grad_enabled(guided):
            f = net(state, *rest, layout=layout)
        if guided:
            torch.autograd.grad(f, state, torch.ones_like(f))

    return call


def _clock(call: Callable[[], None]) -> tuple[float, float]:
    """Seconds until all are done, and processor seconds of all."""
    dist.barrier()
    start, used = time.perf_counter(), time.process_time()
    call()
    total = torch.tensor(time.process_time() - used, dtype=torch.float64)
    dist.all_reduce(total)
    return time.perf_counter() - start, float(total)


def _clustered(layout: Tiled, grid: tuple[int, int]) -> dict[str, float]:
    """The most observations that a process has over the mean: even, and as dense around four places as people live."""
    g = np.random.default_rng(0)
    even = g.uniform(size=(10_000, 2)) * grid
    centres = g.uniform(size=(4, 2)) * grid
    dense = (centres[g.integers(4, size=10_000)] + 0.05 * grid[1] * g.standard_normal((10_000, 2))) % grid
    found = {}
    for name, places in (("even", even), ("four clusters", dense)):
        row, column = places.astype(int).T
        own = torch.tensor(float(layout.owns(row, column, grid).sum()))
        found[name] = round(float(layout.max(own) * layout.size / layout.sum(own)), 3)
    return found


def _quartiles(values: list[float]) -> list[float]:
    return [round(float(q), 4) for q in np.quantile(values, (0.25, 0.5, 0.75))]


if __name__ == "__main__":
    main()
