"""How well `stormda plan` predicts what it was not fitted to: `python benchmarks/plan.py --rounds 5`.

Small cases are measured, rates fitted to them (`stormda.pipeline.fit`), and larger ones predicted: more tokens, more
blocks, another width, a backward pass, a step of training. All cases take turns, round by round, and the median of each
counts. Times are of the processor on a processor (other work on the machine waits in it), of the clock on a GPU.
Measurements are left in the folder as `stormda bench frame --json` prints them, for `stormda plan --fit`.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import torch

from stormda.config.presets import PRESETS
from stormda.nn import frame as frames
from stormda.nn import measure
from stormda.nn.frame import Frame, measure_frame
from stormda.pipeline.fit import fit, read_measurements

FITTED = (  # preset, blocks, shape, direction
    ("nano", 2, (32, 64), "forward"),
    ("nano", 4, (64, 64), "forward"),
    ("nano", 2, (64, 128), "forward"),
    ("nano", 2, (32, 64), "backward"),
    ("10M", 1, (32, 32), "forward"),
    ("10M", 2, (32, 64), "forward"),
    ("10M", 1, (64, 64), "forward"),
    ("10M", 1, (32, 32), "backward"),
    ("10M", 2, (16, 16), "forward"),
    ("200M", 1, (16, 16), "forward"),
)
PREDICTED = (
    ("nano", 4, (128, 256), "forward"),
    ("nano", 4, (64, 128), "backward"),
    ("10M", 6, (64, 64), "forward"),
    ("10M", 2, (96, 192), "forward"),
    ("10M", 3, (64, 64), "backward"),
    ("200M", 2, (32, 32), "forward"),
)


def cases(rows: tuple[tuple[str, int, tuple[int, int], str], ...]) -> list[tuple[str, Frame]]:
    found = []
    for preset, blocks, shape, direction in rows:
        size = PRESETS[preset].arguments() | {"blocks": blocks}
        found.append((preset, Frame(shape, 2, 1, 2, **size, direction=direction)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit small cases, predict large ones.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/plan"))
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        measure.perf_counter = time.process_time
        torch.set_num_threads(1)
    frames._MATRIX["cpu"] = 512  # products that are measured beside each case
    given.folder.mkdir(parents=True, exist_ok=True)
    every = {name: cases(rows) for name, rows in (("fitted", FITTED), ("predicted", PREDICTED))}
    seconds: dict[tuple[str, int], list[float]] = {}
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(given.rounds):
        for name, rows in every.items():
            for number, (_, asked) in enumerate(rows):
                cost = measure_frame(replace(asked, device=device))
                seconds.setdefault((name, number), []).append(cost.seconds)
                rates.setdefault((name, number), []).append(cost.matrix_rate)
    measured = {}
    for name, rows in every.items():
        documents = []
        for number, (preset, asked) in enumerate(rows):
            tokens = asked.shape[0] * asked.shape[1] // asked.patch**2
            facts = asdict(asked) | {"preset": preset, "tokens": tokens, "device": device}
            facts |= {"seconds": median(seconds[name, number]), "every": seconds[name, number]}
            documents.append(facts | {"matrix_gflops": median(rates[name, number]) / 1e9})
        path = given.folder / f"{name}.json"
        path.write_text("\n".join(json.dumps(row) for row in documents) + "\n")
        measured[name] = read_measurements([path])
    found = fit(measured["fitted"])
    print(f"1/rates {found.inverse}, off by {found.error[0]:.1%} (median), {found.error[1]:.1%} (most) where fitted")
    for row in measured["predicted"]:
        guess = found.seconds(row.work)
        print(f"{row.what}: measured {row.seconds:.3f} s, predicted {guess:.3f} s, {guess / row.seconds - 1:+.0%}")


if __name__ == "__main__":
    main()
