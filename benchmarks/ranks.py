"""What it costs to divide an ensemble over several processes: T(1 rank) / T(n ranks), in pairs.

    mpiexec -n 2 python benchmarks/ranks.py -c config.yaml --cycle 2014-07-10T00Z --pairs 20 assimilate.ensemble=64

A pair is one analysis by rank 0 alone, while the others wait, and the same by all ranks together, from reading to the
published folder; the order changes from pair to pair, the first pair is left out. The processes are started once, so
their start is reported apart. Where all ranks share one core, the best ratio is 1.

The second ratio is of processor seconds: those of rank 0 alone over those of all ranks together, waiting included. It
does not depend on how many processes of others want the same core. Prints JSON.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from stormda.config import Config, load
from stormda.distributed.world import ALONE, World
from stormda.pipeline.assimilate import assimilate
from stormda.pipeline.ranks import together
from stormda.time import parse_time


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description="T(1 rank) / T(n ranks) of an analysis.")
    parser.add_argument("-c", "--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--cycle", required=True)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    begun = time.time() - psutil.Process().create_time()
    config, cycle = load(given.config, given.overrides), parse_time(given.cycle)
    torch.set_num_threads(1)
    before = time.monotonic()
    with together(config) as world:
        meeting = time.monotonic() - before
        pairs = [_pair(config, cycle, world, number) for number in range(given.pairs + 1)][1:]
        analysis = config.assimilate
        if world.leads:
            facts = {
                "ranks": world.size,
                "problem": f"{analysis.method}, {analysis.ensemble} members in batches of {analysis.batch}",
                "pairs": len(pairs),
                "seconds of 1 rank": _quartiles([a[0] for a, _ in pairs]),
                f"seconds of {world.size} ranks": _quartiles([b[0] for _, b in pairs]),
                "T(1) / T(n)": _quartiles([a[0] / b[0] for a, b in pairs]),
                "processor seconds, 1 / n": _quartiles([a[1] / b[1] for a, b in pairs]),
                "start, s": {"process and imports": round(begun, 2), "meeting": round(meeting, 2)},
                "load": os.getloadavg()[1],
            }
            json.dump(facts, sys.stdout, indent=2)
            print()


def _pair(
    config: Config, cycle: np.datetime64, world: World, number: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds and processor seconds of rank 0 alone, and of all ranks."""
    sides = {True: lambda: _timed(config, cycle, world, ALONE), False: lambda: _timed(config, cycle, world, world)}
    first = number % 2 == 0
    measured = {first: sides[first](), (not first): sides[not first]()}
    return measured[True], measured[False]


def _timed(config: Config, cycle: np.datetime64, world: World, workers: World) -> tuple[float, float]:
    """One analysis by `workers`: seconds, and processor seconds of all who took part."""
    world.wait()
    begin, used = time.monotonic(), time.process_time()
    if workers is world or world.leads:
        assimilate(config, [cycle], world=workers)
    seconds = time.monotonic() - begin
    mine = torch.tensor([time.process_time() - used if workers is world or world.leads else 0.0])
    world.wait()
    return seconds, float(world.sum(mine.double()))


def _quartiles(values: list[float]) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": round(float(middle), 3), "quartiles": [round(float(low), 3), round(float(high), 3)]}


if __name__ == "__main__":
    main()
