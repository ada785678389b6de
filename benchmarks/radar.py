"""What radars are worth in the world with weather: independent analyses with and without them, from the same past.

    python benchmarks/radar.py FOLDER --analyses 24 --members 8

writes the world of `stormda init --template weather-demo` with analysis times three days apart, ingests it, and makes
every analysis four times: from soundings and gauges, and with reflectivity, velocity or both beside them. Nothing is
cycled: each analysis begins with the true fields six hours before (`history.source=archive`), which the prior takes to
have an error of a tenth of the climatological standard deviation; it learned from the time before all of them. All
four draw the same background and the same noise, so their differences are those of the observations.

For each variable: the fair CRPS against the truth at all points, and by how many per cent that of the stations is
above it (above 0: the radar helps), with the 95 % interval of a block bootstrap over the analysis times of both
together. What is there is not made again: a second call with more analyses of the same folder goes on, `--score` only
prints. `--analyses` of the first call decides how many times the world has.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stormda.config import Config, load
from stormda.pipeline import build
from stormda.pipeline.assimilate import assimilate
from stormda.pipeline.ingest import ingest, ingest_files
from stormda.pipeline.layout import analysis_folder
from stormda.pipeline.verify_truth import on_grid, read_reference, scoring_of
from stormda.pipeline.weather_world import START, write_weather
from stormda.store.analysis import read_analysis
from stormda.templates import configuration
from stormda.types import Array
from stormda.variables import Channel
from stormda.verification.changes import compare, per_cent
from stormda.verification.compare import ALL, against_truth
from stormda.verification.tally import Tally

EVERY, ARCHIVE = 12, 480  # steps of six hours: between two analyses, and to learn from
STATIONS = ("soundings", "gauges")
NETWORKS = {
    "stations": STATIONS,
    "reflectivity": (*STATIONS, "reflectivity"),
    "velocity": (*STATIONS, "velocity"),
    "both": (*STATIONS, "reflectivity", "velocity"),
}
SETTINGS = [
    "archive.sources.nature.files=[data/archive.nc, data/truth.nc]",
    "archive.train={start: 2000-01-01T00Z, end: 2029-12-31T18Z}",
    "history={source: archive, archive_error: 0.1}",
    "gaussian.modes=160",
    "verify.against=[truth]",
]
METHOD = "gaussian"


def network(config: Config, name: str) -> Config:
    """The run of a network: inputs are those of the whole run, analyses its own."""
    sources = {n: config.observations.sources[n] for n in NETWORKS[name]}
    inputs = {"path": str(config.below_run(config.observations.path)), "sources": sources}
    there = {
        "archive": config.archive.model_copy(update={"path": str(config.below_run(config.archive.path))}),
        "observations": config.observations.model_copy(update=inputs),
        "run_dir": str(config.run / name),
    }
    return config.model_copy(update=there)


def once(mark: Path, work: Callable[[], object]) -> None:
    if not mark.exists():
        work()
        mark.touch()


def made(run: Config, time: np.datetime64) -> Path:
    return analysis_folder(run, METHOD, time, run.quality.withhold.seeds[0])


def make(config: Config, runs: dict[str, Config], times: Array) -> None:
    """Every analysis that is not there; one time after another, so that it may be stopped anywhere."""
    once(config.below_run("ingested"), lambda: ingest(config, ["nature", *STATIONS]))
    prior = build.prior(runs["stations"], METHOD)
    for time in times:
        stamp = np.datetime_as_string(time, unit="m").translate(str.maketrans("", "", "-:"))
        volumes = sorted(config.path("data/radars").glob(f"*_{stamp}.h5"))
        scans = {name: volumes for name in ("reflectivity", "velocity")}
        once(config.below_run(f"ingested-{stamp}"), lambda files=scans: ingest_files(config, files))
        for name, run in runs.items():
            if not (made(run, time) / "analysis.nc").exists():
                done = assimilate(run, [time], prior=prior).cycles[0]
                print(f"{time} {name}: {done.used} values used, {done.seconds:.0f} s", flush=True)


def score(config: Config, runs: dict[str, Config], times: Array) -> None:
    there = [t for t in times if all((made(run, t) / "analysis.nc").exists() for run in runs.values())]
    reference, scoring = read_reference(config, there, []), scoring_of(config)
    tallies = {name: Tally() for name in runs}
    for time in there:
        for name, run in runs.items():
            for side in ("background", "analysis"):
                ensemble = read_analysis(made(run, time) / f"{side}.nc")
                state = ensemble.state
                truth = on_grid(reference.truth[time], state.grid)
                seed = run.quality.withhold.seeds[0]
                where = side, state.values, state.channels, state.grid, truth, time, seed
                tallies[name].add(against_truth(*where, scoring=scoring))
    print(f"\n{len(there)} analyses, {config.assimilate.ensemble} members\n")
    columns = ["CRPS", "background", "stations", *(f"{w}{n}" for n in list(NETWORKS)[1:] for w in ("+ ", "better by "))]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    base = tallies["stations"]
    order = {Channel.parse(name).name: k for k, name in enumerate(config.channels)}
    keys = [k for k in base.keys("truth") if k.region == ALL and k.variable in order]
    for key in sorted((k for k in keys if k.side == "analysis"), key=lambda k: order[k.variable]):
        behind = next(k for k in keys if (k.variable, k.side) == (key.variable, "background"))
        before = compare(base, base, behind)
        changes = [compare(tallies[name], base, key) for name in runs]
        assert before is not None
        cells = [f"{key.variable} [{key.unit}]", f"{before.crps:.4g}"]
        for name, change in zip(runs, changes, strict=True):
            assert change is not None
            cells += [f"{change.crps:.4g}", *([] if name == "stations" else [per_cent(change.crps_change)])]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--analyses", type=int, default=24)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--score", action="store_true", help="print the table of what is there")
    arguments = parser.parse_args()
    folder, file = arguments.folder, arguments.folder / "config.yaml"
    times = START + np.arange(arguments.analyses) * EVERY * np.timedelta64(6 * 3600, "s")
    if not file.exists():
        write_weather(folder / "data", archive=ARCHIVE, cycles=arguments.analyses, every=EVERY)
        file.write_text(configuration("weather-demo"))
    config = load(file, [*SETTINGS, f"assimilate.ensemble={arguments.members}"])
    runs = {name: network(config, name) for name in NETWORKS}
    if not arguments.score:
        make(config, runs, times)
    score(config, runs, times)


if __name__ == "__main__":
    main()
