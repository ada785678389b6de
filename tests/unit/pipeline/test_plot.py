"""`plot` draws what is there, from whatever it is given, and says what can be drawn where it cannot."""

from pathlib import Path

import numpy as np
import pytest

from stormda.errors import ConfigError, InputError, InputMissing
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.pipeline.inspect import inspect
from stormda.pipeline.plot import PICTURES, PlotResult, Wanted, pictures, plot
from stormda.pipeline.plot_source import open_source
from stormda.store.analysis import write_analysis
from stormda.store.feedback import write_feedback
from stormda.time import parse_time, stamp
from stormda.variables import Channel
from stormda.verification.compare import against_truth, innovations, power_spectra
from stormda.verification.statistics import Record, write_record

GRID = Grid.regular(np.linspace(60.0, 40.0, 6), np.linspace(-10.0, 10.0, 7))
CHANNELS = (Channel.parse("t2m"), Channel.parse("z500"))
START, STEP = parse_time("2020-01-01T00Z"), np.timedelta64(6 * 3600, "s")
M, N = 4, 12
STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def observations(cycle: np.datetime64) -> Observations:
    level = np.where(np.arange(N) % 2, 500.0, 850.0)
    return Observations.of(
        {
            "report_id": "r", "station_id": np.array([f"S{k // 4}" for k in range(N)], dtype=object),
            "platform": "temp", "source": "sondes", "variable": "t", "level_type": "pressure", "level": level,
            "time": np.full(N, cycle), "latitude": np.linspace(42, 58, N), "longitude": np.linspace(-8, 8, N),
            "value": 260 + np.arange(N), "error": 1.0, "qc": np.where(np.arange(N) == 5, int(QC.BUDDY), 0),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three analyses of one method, and their statistics."""
    folder = tmp_path_factory.mktemp("run")
    for k in range(3):
        cycle, rng = START + k * STEP, np.random.default_rng(k)
        own = folder / "analyses" / "oi" / stamp(cycle)
        own.mkdir(parents=True)
        fields = {name: 280 + rng.normal(size=(M, 2, *GRID.shape)) for name in ("background", "analysis")}
        for name, members in fields.items():
            write_analysis(
                own / f"{name}.nc", members, count=M, channels=CHANNELS, grid=GRID, time=cycle, attributes={}
            )
        seen = observations(cycle)
        before, after = (seen["value"] + rng.normal(size=(M, N)) for _ in range(2))
        write_feedback(own / "feedback.nc", seen, before, after, {})
        parts = innovations(before, after, seen, CHANNELS, cycle, 0)
        where = fields["analysis"], CHANNELS, GRID, {"t2m": np.full(GRID.shape, 280.0)}, cycle, 0
        parts += [*against_truth("analysis", *where), *power_spectra("analysis", *where)]
        record = Record(cycle, 0, tuple(parts), (), "x:y")
        file = folder / "verification" / "oi" / "statistics" / f"{stamp(cycle)}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_record(file, record)
    return folder


def draw(path: Path, picture: str, file: Path, **wanted: object) -> PlotResult:
    return plot(open_source(path), picture, Wanted(**wanted), file)  # type: ignore[arg-type]


OF = {
    "departures": "t500", "ranks": "t2m:truth", "spectrum": "t2m", "station": "t500", "profile": "t",
    "observations": "all",
}  # fmt: skip


@pytest.mark.parametrize("picture", sorted(set(PICTURES) - {"forecast"}))
def test_every_picture_is_drawn_from_a_run(run: Path, tmp_path: Path, picture: str) -> None:
    form = sorted(STARTS)[len(picture) % 3]
    file = tmp_path / f"{picture}.{form}"
    result = draw(run, picture, file, of=OF.get(picture, "z500"), station="S1", member=2)
    assert file.read_bytes().startswith(STARTS[form]) and result.size == file.stat().st_size > 3000


def test_the_same_picture_is_the_same_file(run: Path, tmp_path: Path) -> None:
    for form in STARTS:
        draw(run, "increment", tmp_path / f"a.{form}", of="t2m")
        draw(run, "increment", tmp_path / f"b.{form}", of="t2m")
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()


def test_a_picture_is_of_the_cycle_that_is_asked_for(run: Path, tmp_path: Path) -> None:
    source = open_source(run, cycle=START + STEP)
    plot(source, "analysis", Wanted("t2m"), tmp_path / "a.svg")
    assert "2020-01-01T06:00Z" in (tmp_path / "a.svg").read_text()  # text stays text
    with pytest.raises(InputMissing, match="at 2020-01-09T00:00Z"):
        open_source(run, cycle=parse_time("2020-01-09T00Z"))


def test_what_single_files_hold_is_drawn(run: Path, tmp_path: Path) -> None:
    folder = run / "analyses" / "oi" / stamp(START)
    listed = {name: dict(pictures(open_source(path)).pictures) for name, path in (
        ("folder", folder), ("ensemble", folder / "background.nc"), ("feedback", folder / "feedback.nc"),
        ("statistics", run / "verification" / "oi" / "statistics" / f"{stamp(START)}.parquet"),
    )}  # fmt: skip
    assert set(listed["ensemble"]) == {"background", "spread", "member"}
    assert set(listed["feedback"]) == {"observations", "departures", "station", "profile"}
    assert set(listed["statistics"]) == {"departures", "ranks", "spectrum"}
    assert set(listed["folder"]) == set(PICTURES) - {"forecast", "ranks", "spectrum"}
    assert listed["folder"]["increment"] == ("t2m", "z500")
    draw(folder / "feedback.nc", "observations", tmp_path / "o.png")  # `all`, where nothing is named
    (tmp_path / "forecast_006h.nc").write_bytes((folder / "analysis.nc").read_bytes())
    draw(tmp_path / "forecast_006h.nc", "forecast", tmp_path / "f.png", of="t2m")


@pytest.mark.parametrize(
    ("picture", "file", "wanted", "error", "words"),
    [
        ("increment", "a.gif", {"of": "t2m"}, ConfigError, "end it in .png"),
        ("incremnt", "a.png", {}, ConfigError, "did you mean 'increment'"),
        ("increment", "a.png", {}, ConfigError, "one of t2m, z500"),
        ("increment", "a.png", {"of": "z50"}, ConfigError, "did you mean 'z500'"),
        ("member", "a.png", {"of": "t2m", "member": 4}, ConfigError, "0 to 3"),
        ("station", "a.png", {"of": "t500"}, ConfigError, "one of S0, S1, S2"),
        ("profile", "a.png", {"of": "t", "station": "T9"}, ConfigError, "one of S0, S1, S2"),
        ("forecast", "a.png", {"of": "t2m"}, InputMissing, "what can: analysis, background"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    run: Path, tmp_path: Path, picture: str, file: str, wanted: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        draw(run, picture, tmp_path / file, **wanted)
    assert words in f"{caught.value}"
    assert list(tmp_path.iterdir()) == []


def test_several_methods_and_strange_paths(run: Path, tmp_path: Path) -> None:
    (run / "analyses" / "kf").mkdir()
    try:
        with pytest.raises(ConfigError, match="several methods"):
            open_source(run)
        assert open_source(run, method="oi").ensembles
        with pytest.raises(InputMissing, match="nothing of method ensf"):
            open_source(run, method="ensf")
    finally:
        (run / "analyses" / "kf").rmdir()
    with pytest.raises(InputMissing, match="no such file"):
        open_source(tmp_path / "gone")
    with pytest.raises(InputError, match="neither a run nor an analysis"):
        open_source(tmp_path)
    (tmp_path / "a.nc").write_bytes(b"words")
    with pytest.raises(InputError):
        open_source(tmp_path / "a.nc")


def test_a_statistics_file_is_explained(run: Path, tmp_path: Path) -> None:
    file = run / "verification" / "oi" / "statistics" / f"{stamp(START)}.parquet"
    found = inspect(file)
    facts = dict(found.facts)
    assert found.kind == "statistics" and facts["cycle"] == "2020-01-01T00:00Z" and facts["missing"] == "nothing"
    assert facts["departures of the observations that were used"] == "2 comparisons, 3 stations"
    rows = {row[:3]: row for row in found.rows}
    # 42 grid points; the mean of 4 members with an error of 1 errs by 1/2, give or take 1/sqrt(2 * 42) of it, 4 sigma.
    own = rows["truth", "t2m [K]", "analysis"]
    assert own[6] == "42" and abs(float(own[7]) - 0.5) < 0.22
    assert rows["innovations", "t500 [K]", "O-A"][4:7] == ("sondes", "4", "5")  # one of six was rejected
    (tmp_path / "cut.parquet").write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="truncated or not Parquet"):
        inspect(tmp_path / "cut.parquet")
