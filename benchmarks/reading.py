"""How fast files of observations are read, each source of a configuration by itself, without checks or a store.

    python benchmarks/reading.py benchmarks/observations.yaml bufr_temp bufr_synop metar_texts

The worker is warm: the smallest source of each kind is read once before. Messages are those of BUFR, reports what has
one report identifier. Each source is read three times, the fastest counts. Rates are per second of processor time of
this process and the worker together: other work on the machine stretches the clock, not them.
"""

import sys
import time
from pathlib import Path

import eccodes
import psutil

from stormda.config import load
from stormda.pipeline.ingest_file import READERS

REPEATS = 3


def messages(paths: list[Path]) -> int:
    total = 0
    for path in paths:
        with path.open("rb") as file:
            total += eccodes.codes_count_in_file(file)
    return total


def processor() -> float:
    """Seconds of processor time of this process and its worker."""
    own = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (own, *own.children()))


def main() -> None:
    config = load(Path(sys.argv[1]), [])
    sources = config.observations.sources
    names = sys.argv[2:] or list(sources)
    size = {n: sum(config.path(f).stat().st_size for f in s.files) for n, s in sources.items()}
    for kind in {sources[n].kind for n in names}:
        smallest = min((n for n in sources if sources[n].kind == kind), key=lambda n: size[n])
        READERS[kind](sources[smallest], smallest, config.path)
    print("| source | MB | rows | reports | clock s | CPU s | rows/s | reports/s | messages/s |\n" + "|---" * 9 + "|")
    for name in names:
        source, clocks, seconds = sources[name], [], []
        for _ in range(REPEATS):
            start, used = time.perf_counter(), processor()
            found = READERS[source.kind](source, name, config.path)
            clocks.append(time.perf_counter() - start)
            seconds.append(processor() - used)
        best, reports = min(seconds), len(set(found["report_id"]))
        each = f"{messages([config.path(f) for f in source.files]) / best:.0f}" if source.kind == "bufr" else ""
        cells = [f"{size[name] / 1e6:.1f}", len(found), reports, f"{min(clocks):.2f}", f"{best:.2f}"]
        cells += [f"{len(found) / best:.0f}", f"{reports / best:.0f}", each]
        print(f"| {name} | {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
