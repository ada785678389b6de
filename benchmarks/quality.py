"""Plant errors in clean observations and count what quality control finds: `python benchmarks/quality.py --seeds 0..4`.

The clean world: stations over Europe report mean sea level pressure and 2-metre temperature every hour for 30 hours,
two-fifths of them a geopotential of 500 hPa too. Truth = smooth field + background error, the members of the background
are further draws of that error, the reports have errors of their stated size and are rounded as reports are. Planted:

    gross      5 % of the values: off by 10 to 50 times the standard deviation of the observation error, either way
    small      2 %: off by 5 to 10 times that
    unit       1 %: degrees Celsius taken for K, hPa for Pa, feet for m
    duplicate  10 % of the stations come again in one or two other sources, up to 5 minutes away and rounded otherwise
    stuck      1 % of the stations repeat one value for 26 hours
    spike      0.2 % of the earlier hours: a jump of 10 to 40 K or 10 to 60 hPa and back
    biased     2 % of the stations are off by six standard deviations, always

Hits are of those planted at the analysis time (spikes: at their own); of duplicates the copies must go and the original
stay. False alarms are good values with a code, by check. If titanlib is installed (`pip install titanlib`), its buddy
check and spatial consistency test see the same gross errors, as departures from the background.
"""

import argparse
from collections import Counter
from dataclasses import dataclass

import numpy as np

from stormda.config import BiasConfig, CheckConfig
from stormda.observations import QC, Observations
from stormda.quality.bias import correct, estimate, innovations, learn
from stormda.quality.dynamic import run_dynamic
from stormda.quality.static import run_static
from stormda.types import Array

HOUR = np.timedelta64(3600, "s")
START = np.datetime64("2019-02-16T06:00", "s")
HOURS = 31  # the last is the analysis time
MEMBERS = 40
LENGTH = 4.0  # degrees, of background errors
ERROR = {"msl": 100.0, "t2m": 1.0, "z": 100.0}
SPREAD = {"msl": 400.0, "t2m": 2.0, "z": 250.0}  # of the background
BASE = {"msl": 101300.0, "t2m": 281.0, "z": 54000.0}
WAVE = {"msl": 1500.0, "t2m": 6.0, "z": 1500.0}  # of the weather
STEP = {"msl": 10.0, "t2m": 0.1, "z": 9.80665}  # of reports
STATIC = [
    CheckConfig(check="range"),
    CheckConfig(check="duplicates"),
    CheckConfig(check="stuck"),
    CheckConfig(check="spike"),
]
DYNAMIC = [
    CheckConfig(check="background"),
    CheckConfig(check="buddy"),
    CheckConfig(check="duplicates", span=np.timedelta64(600, "s"), prefer=("synop", "metar", "madis", "isd")),
]


@dataclass
class Planted:
    """Observations with errors, what was planted in each row (empty: good), and H of the background's members."""

    observations: Observations
    kind: Array
    background: Array


def fields(rng: np.random.Generator, number: int, place: Array, length: float) -> Array:
    """Random smooth fields of variance 1 at places [N, 2]: sums of random waves, [number, N]."""
    waves = 200
    k = rng.normal(size=(number, waves, 2)) / length
    phase = rng.uniform(0, 2 * np.pi, (number, waves, 1))
    return np.asarray(np.sqrt(2.0 / waves) * np.cos(k @ place.T + phase).sum(axis=1))


def plant(seed: int, stations: int = 500, clean: bool = False) -> Planted:
    """The world of a seed with its planted errors, or without any."""
    rng = np.random.default_rng(seed)
    place = np.stack([rng.uniform(36, 60, stations), rng.uniform(-10, 25, stations)], axis=1)
    flat = place * np.array([1.0, np.cos(np.deg2rad(48.0))])
    names = np.array([f"{n:05d}" for n in range(10000, 10000 + stations)], dtype=object)
    tables, kinds, background = [], [], []
    for variable in ("msl", "t2m", "z"):
        chosen = np.arange(stations) if variable != "z" else np.arange(0, stations, 5) // 2 * 2
        some, at = names[chosen], flat[chosen]
        error = fields(rng, 1 + MEMBERS, at, LENGTH) * SPREAD[variable]
        weather = WAVE[variable] * fields(rng, 2, at, 9.0)
        hours = np.arange(HOURS) if variable != "z" else np.array([HOURS - 1])
        turn = 2 * np.pi * hours[:, None] / 60.0
        slow = np.cos(turn) * weather[0] + np.sin(turn) * weather[1]
        day = (4.0 if variable == "t2m" else 0.0) * np.cos(2 * np.pi * (hours + 6 - 14) / 24.0)[:, None]
        forecast = BASE[variable] + slow + day  # [T, n]
        value = forecast + error[0] + ERROR[variable] * rng.normal(size=forecast.shape)
        kind = np.full(value.shape, "", dtype=object)
        if not clean:
            _spoil(rng, variable, value, kind)
        value = np.where(kind == "unit", value, np.round(value / STEP[variable]) * STEP[variable])
        tables.append(_table(variable, some, place[chosen], hours, value))
        kinds.append(kind.ravel())
        members = forecast[None] + error[1:, None]
        background.append(members.reshape(MEMBERS, -1))
    out = Planted(Observations.concat(tables), np.concatenate(kinds), np.concatenate(background, axis=1))
    return out if clean else _again(rng, out)


def _spoil(rng: np.random.Generator, variable: str, value: Array, kind: Array) -> None:
    """Plant errors in values [T, n], in place."""
    times, n = value.shape
    stuck, biased = (rng.choice(n, max(n // share, 1), replace=False) for share in (100, 50))
    value[:, biased] += 6 * ERROR[variable] * rng.choice([-1.0, 1.0], len(biased))
    kind[:, biased] = "biased"
    if times > 1:
        value[-27:, stuck] = value[-27, stuck]
        kind[-27:, stuck] = "stuck"
        jump = (rng.uniform(size=value.shape) < 0.002) & (kind == "")
        jump[[0, -1]] = False  # nothing before or after
        jump[1:] &= ~jump[:-1]  # one at a time
        size = rng.uniform(1000, 6000, value.shape) if variable == "msl" else rng.uniform(10, 40, value.shape)
        value[jump] += (size * rng.choice([-1.0, 1.0], value.shape))[jump]
        kind[jump] = "spike"
    for name, share, least, most in (("gross", 0.05, 10, 50), ("small", 0.02, 5, 10)):
        bad = (rng.uniform(size=n) < share) & (kind[-1] == "")
        value[-1, bad] += (rng.uniform(least, most, n) * ERROR[variable] * rng.choice([-1.0, 1.0], n))[bad]
        kind[-1, bad] = name
    unit = (rng.uniform(size=n) < 0.01) & (kind[-1] == "")
    wrong = {"msl": value[-1] / 100.0, "t2m": value[-1] - 273.15, "z": value[-1] / 0.3048}[variable]
    value[-1, unit] = wrong[unit]
    kind[-1, unit] = "unit"


def _table(variable: str, names: Array, place: Array, hours: Array, value: Array) -> Observations:
    times = np.repeat(START + hours * HOUR, len(names))
    every = len(hours)
    return Observations.of(
        {
            "report_id": np.full(value.size, variable, dtype=object),
            "station_id": np.tile(names, every),
            "platform": "temp" if variable == "z" else "synop",
            "source": "synop",
            "variable": variable,
            "level_type": "pressure" if variable == "z" else "surface",
            "level": 500.0 if variable == "z" else np.nan,
            "time": times,
            "latitude": np.tile(place[:, 0], every),
            "longitude": np.tile(place[:, 1], every),
            "elevation": np.full(value.size, 100.0),
            "value": value.ravel(),
            "error": np.full(value.size, ERROR[variable]),
        }
    )


def _again(rng: np.random.Generator, planted: Planted) -> Planted:
    """A tenth of the good reports of the analysis time once more, in one or two other sources."""
    o, parts, kinds, hx = planted.observations, [planted.observations], [planted.kind], [planted.background]
    good = (o["time"] == o["time"].max()) & (planted.kind == "") & (o["variable"] != "z")
    chosen = np.isin(o["station_id"], rng.permutation(np.unique(o["station_id"].astype(str)))[::10]) & good
    for source in ("metar", "madis"):
        rows = np.flatnonzero(chosen if source == "metar" else chosen & (rng.uniform(size=len(o)) < 0.5))
        copy = o.take(rows)
        late = rng.integers(-300, 1, len(rows)).astype("timedelta64[s]")
        step = np.where(copy["variable"] == "t2m", 1.0, 100.0)
        value = np.round(copy["value"] / step) * step
        names = np.full(len(rows), source, dtype=object)
        parts.append(copy.replace(source=names, time=copy["time"] + late, value=value))
        kinds.append(np.full(len(rows), "duplicate", dtype=object))
        hx.append(planted.background[:, rows])
    return Planted(Observations.concat(parts), np.concatenate(kinds), np.concatenate(hx, axis=1))


def checked(planted: Planted) -> Observations:
    """The static checks on all of it, the dynamic ones on the reports of the last half hour."""
    o = run_static(planted.observations, STATIC)
    rows = np.flatnonzero((o["time"] > o["time"].max() - HOUR / 2) & (o["qc"] == QC.USED))
    now = run_dynamic(o.take(rows), DYNAMIC, planted.background[:, rows], None)
    qc = o["qc"].copy()
    qc[rows] = now["qc"]
    return o.replace(qc=qc)


def tally(planted: Planted, qc: Array) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Planted and found errors by kind, and good values (and those rejected, by check) of the analysis time."""
    o, kind = planted.observations, planted.kind
    now = o["time"] > o["time"].max() - HOUR / 2
    there: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for name in ("gross", "small", "unit", "stuck", "spike", "biased"):
        rows = (kind == name) & (now | (name == "spike"))
        there[name], found[name] = int(rows.sum()), int((rows & (qc != 0)).sum())
    copies = np.isin(kind, ["duplicate"]) & now
    there["duplicate"], found["duplicate"] = int(copies.sum()), int((copies & (qc != 0)).sum())
    good = (kind == "") & now
    alarms = Counter({QC(c).words: int(k) for c, k in zip(*np.unique(qc[good], return_counts=True), strict=True)})
    earlier = (kind == "") & ~now
    alarms["good at earlier hours"] = int(earlier.sum())
    alarms["of these rejected"] = int((qc[earlier] != 0).sum())
    return there, found, alarms


def bias_left(seed: int, cycles: int = 20) -> tuple[float, float]:
    """RMS bias [K] of biased stations before and after learning from `cycles` honest backgrounds."""
    rng = np.random.default_rng(seed)
    config = BiasConfig(variables=("t2m",), hours=None, height=False)
    n, true = 200, np.zeros(200)
    true[::10] = 6.0 * rng.choice([-1.0, 1.0], 20)
    table = None
    names = np.array([f"{i:05d}" for i in range(n)], dtype=object)
    place = np.stack([rng.uniform(36, 60, n), rng.uniform(-10, 25, n)], axis=1)
    for cycle in range(cycles):
        value = 281.0 + true + rng.normal(size=n) * np.hypot(ERROR["t2m"], SPREAD["t2m"])
        reports = _table("t2m", names, place, np.array([6 * cycle]), value[None])
        table = learn(table, innovations(reports, np.full(n, 281.0), config), config)
    assert table is not None
    clean = _table("t2m", names, place, np.array([6 * cycles]), (281.0 + true)[None])
    left = correct(clean, estimate(table, clean, clean["time"][0], config))["value"] - 281.0
    before, after = (float(np.sqrt((x[::10] ** 2).mean())) for x in (true, left))
    return before, after


def titan(planted: Planted) -> dict[str, tuple[int, int]]:
    """Rows flagged by checks of titanlib of gross errors and of good values, on the departures of msl and t2m."""
    import titanlib  # type: ignore[import-not-found]

    out: dict[str, tuple[int, int]] = {}
    o = planted.observations
    now = (o["time"] == o["time"].max()) & np.isin(planted.kind, ["", "gross"])
    for variable in ("msl", "t2m"):
        rows = np.flatnonzero(now & (o["variable"] == variable))
        d = o["value"][rows] - planted.background[:, rows].mean(axis=0)
        n = len(rows)
        points = titanlib.Points(o["latitude"][rows], o["longitude"][rows], np.full(n, 100.0), np.zeros(n))
        one = np.ones(n)
        least = 2 * ERROR[variable]
        flags = {
            "buddy check": titanlib.buddy_check(points, d, 3e5 * one, 5 * one.astype(int), 3.0, 200.0, 0.0, least, 5),
            "sct": titanlib.sct(points, d, 5, 100, 3e5, 6e5, 10, 5, 100.0, 1e4, 200.0, 16 * one, 16 * one,
                                (ERROR[variable] / SPREAD[variable]) ** 2 * one)[0],
        }  # fmt: skip
        gross = planted.kind[rows] == "gross"
        for name, flag in flags.items():
            hit, false = out.get(name, (0, 0))
            bad = np.asarray(flag) == 1
            out[name] = hit + int((bad & gross).sum()), false + int((bad & ~gross).sum())
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="0..4", help="such as 0..4")
    parser.add_argument("--stations", type=int, default=500)
    given = parser.parse_args()
    first, last = (int(n) for n in given.seeds.split(".."))
    there: Counter[str] = Counter()
    found: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    clean: Counter[str] = Counter()
    ours: Counter[str] = Counter()
    titans: dict[str, tuple[int, int]] = {}
    for seed in range(first, last + 1):
        planted = plant(seed, given.stations)
        counted = tally(planted, checked(planted)["qc"])
        there, found, alarms = (a + b for a, b in zip((there, found, alarms), counted, strict=True))
        unspoilt = plant(seed, given.stations, clean=True)
        clean += tally(unspoilt, checked(unspoilt)["qc"])[2]
        try:
            for name, (hit, false) in titan(planted).items():
                before = titans.get(name, (0, 0))
                titans[name] = before[0] + hit, before[1] + false
        except ImportError:
            continue
        o = planted.observations
        same = (o["time"] == o["time"].max()) & (o["source"] == "synop") & np.isin(planted.kind, ["", "gross"])
        rows = np.flatnonzero(same & (o["variable"] != "z"))
        own = run_dynamic(o.take(rows), DYNAMIC[1:2], planted.background[:, rows], None)["qc"] != 0
        ours["hit"] += int((own & (planted.kind[rows] == "gross")).sum())
        ours["false"] += int((own & (planted.kind[rows] == "")).sum())
        ours["gross"] += int((planted.kind[rows] == "gross").sum())
        ours["good"] += int((planted.kind[rows] == "").sum())
    print("| planted | values | found | |\n|---|---|---|---|")
    for name, number in there.items():
        print(f"| {name} | {number} | {found[name]} | {100 * found[name] / number:.1f} % |")
    print("\n| good values | at the analysis time | rejected | by | | earlier | rejected | |")
    print("|---|---|---|---|---|---|---|---|")
    for label, counted_alarms in (("among errors", alarms), ("without any error", clean)):
        hours = ("good at earlier hours", "of these rejected")
        now = {k: v for k, v in counted_alarms.items() if k not in hours}
        total, rejected = sum(now.values()), sum(v for k, v in now.items() if k != "used")
        early, lost = (counted_alarms[k] for k in hours)
        by = ", ".join(f"{k} {v}" for k, v in now.items() if k != "used") or "-"
        shares = f"{100 * rejected / total:.2f} %", f"{100 * lost / early:.2f} %"
        print(f"| {label} | {total} | {rejected} | {by} | {shares[0]} | {early} | {lost} | {shares[1]} |")
    if titans:
        print("\n| gross errors of msl and t2m, one check alone | found | good rejected |\n|---|---|---|")
        print(
            f"| buddy, here | {100 * ours['hit'] / ours['gross']:.1f} % | {100 * ours['false'] / ours['good']:.2f} % |"
        )
        for name, (hit, false) in titans.items():
            print(f"| {name}, titanlib | {100 * hit / ours['gross']:.1f} % | {100 * false / ours['good']:.2f} % |")
    biased, left = bias_left(first)
    print(f"\nBiased stations after 20 cycles: RMS bias {biased:.1f} K before, {left:.1f} K after the correction.")


if __name__ == "__main__":
    main()
