"""The store: half-open windows, idempotent batches, nothing half-written, two writers at once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stormda.errors import InputError, OutputError
from stormda.observations import Observations
from stormda.store.observations import Input, ObservationStore
from stormda.time import Window

T0 = np.datetime64("2019-02-17T12:00:00", "s")
ROOT = Path(__file__).parents[3]


def rows(minutes: list[int], source: str = "synop", longitude: float = 5.0, latitude: float = 50.0) -> Observations:
    """One row a time; the value tells the minute."""
    return Observations.of(
        {
            "report_id": np.array([f"A/{m}" for m in minutes], dtype=object),
            "station_id": np.full(len(minutes), "A", dtype=object),
            "platform": "synop",
            "source": source,
            "variable": "t2m",
            "time": T0 + np.array(minutes, dtype="timedelta64[m]"),
            "latitude": np.full(len(minutes), latitude),
            "longitude": np.full(len(minutes), longitude),
            "value": np.array(minutes, dtype=np.float64),
        }
    )


def minutes(start: int, end: int) -> Window:
    return Window(T0 + np.timedelta64(start, "m"), T0 + np.timedelta64(end, "m"))


def values(observations: Observations) -> list[float]:
    return sorted(observations["value"].tolist())


def test_windows_are_half_open(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path / "store")
    store.add(rows([0, 30, 60]), "synop", Input("a"))
    assert values(store.read(minutes(0, 60))) == [30, 60]


@settings(max_examples=25, deadline=None)
@given(times=st.lists(st.integers(-90, 90), min_size=1, max_size=30), cuts=st.sets(st.integers(-80, 80), max_size=6))
def test_adjoining_windows_share_no_row_and_miss_none(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], cuts: set[int]
) -> None:
    store = ObservationStore(tmp_path_factory.mktemp("store"))
    half = len(times) // 2
    store.add(rows(times[:half]), "synop", Input("a"))
    store.add(rows(times[half:]), "synop", Input("b"))
    edges = [-100, *sorted(cuts), 100]
    parts = [values(store.read(minutes(a, b))) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert sorted(v for part in parts for v in part) == sorted(float(t) for t in times)


def test_adding_again_replaces(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path)
    first = store.add(rows([1, 2, 3]), "synop", Input("ab"))
    store.add(rows([7]), "synop", Input("c"))
    again = store.add(rows([4]), "synop", Input("ab"))
    assert first == again
    assert values(store.read(minutes(0, 60))) == [4, 7]
    assert len(list((tmp_path / "batches").iterdir())) == 2  # what was replaced is gone


def test_the_same_name_is_the_same_input_changed(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path)
    store.add(rows([1]), "synop", Input("2019/a.csv", "11"))
    store.add(rows([2]), "synop", Input("2020/a.csv", "22"))  # of another folder: another file
    store.add(rows([3]), "temp", Input("2019/a.csv", "11"))  # of another source
    store.add(rows([4]), "synop", Input("2019/a.csv", "44"))
    assert values(store.read(minutes(0, 60))) == [2, 3, 4]
    assert len(list((tmp_path / "batches").iterdir())) == 3


def test_the_same_content_is_the_same_input_renamed(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path)
    old = store.add(rows([1]), "synop", Input("a.csv", "11"))
    store.add(rows([2]), "synop", Input("c.csv"))
    assert store.given([("synop", Input("b.csv", "11")), ("synop", Input("d.csv"))]) == [old]
    new = store.add(rows([1]), "synop", Input("b.csv", "11"))
    assert new != old and store.given([("synop", Input("a.csv", "33"))]) == []
    assert values(store.read(minutes(0, 60))) == [1, 2]
    # Nothing is known of the content of c.csv: that it has no digest makes it no other input's equal.
    store.add(rows([3]), "synop", Input("d.csv"))
    assert values(store.read(minutes(0, 60))) == [1, 2, 3]


def test_an_older_store_is_read_and_its_batches_are_replaced(tmp_path: Path) -> None:
    """A line of its manifest has `inputs`, a list with one whole path, in the place of name and sha256."""
    store = ObservationStore(tmp_path)
    for minute, name in enumerate(["2019/a.csv", "2020/a.csv"], start=1):
        store.add(rows([minute]), "synop", Input(name))
    lines = json.loads((tmp_path / "manifest.json").read_text())
    for line in lines:
        assert line.pop("sha256") == ""
        line["inputs"] = [f"/old/place/{line.pop('name')}"]
        line["id"] = f"synop-{hash(line['inputs'][0]) % 2**32:x}"
    (tmp_path / "manifest.json").write_text(json.dumps(lines))
    assert values(store.read(minutes(0, 60))) == [1, 2]
    store.add(rows([3]), "synop", Input("2019/a.csv", "33"))
    assert values(store.read(minutes(0, 60))) == [2, 3]
    store.add(rows([4]), "synop", Input("0/a.csv", "44"))  # ends alike in letters, not in folders
    assert values(store.read(minutes(0, 60))) == [2, 3, 4]
    store.add(rows([5]), "synop", Input("a.csv", "55"))
    assert values(store.read(minutes(0, 60))) == [3, 4, 5]


def test_order_does_not_depend_on_who_wrote_first(tmp_path: Path) -> None:
    one, two = ObservationStore(tmp_path / "1"), ObservationStore(tmp_path / "2")
    batches = [
        (rows([1, 5]), "synop", Input("a")),
        (rows([2], "temp"), "temp", Input("b")),
        (rows([3]), "synop", Input("c")),
    ]
    for batch in batches:
        one.add(*batch)
    for batch in reversed(batches):
        two.add(*batch)
    read = [store.read(minutes(0, 60))["value"].tolist() for store in (one, two)]
    assert read[0] == read[1] == [1, 5, 3, 2]  # by source, inputs and time


def test_sources_and_batches_can_be_left_out(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path)
    id_ = store.add(rows([1]), "synop", Input("a"))
    store.add(rows([2], "temp"), "temp", Input("a"))
    assert values(store.read(minutes(0, 60), ["temp"])) == [2]
    assert values(store.read(minutes(0, 60), without=[id_])) == [2]
    assert len(store.read(minutes(0, 60), [])) == 0


def test_box(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path)
    for number, longitude in enumerate([-179.0, 5.0, 179.0]):
        store.add(rows([number + 1], longitude=longitude), "synop", Input(str(number)))
    window = minutes(0, 60)
    assert values(store.read(window, bbox=(0, 40, 10, 60))) == [2]
    assert values(store.read(window, bbox=(0, 51, 10, 60))) == []
    assert values(store.read(window, bbox=(170, 40, -170, 60))) == [1, 3]  # across the date line
    assert values(store.read(window, bbox=(170, 40, 190, 60))) == [1, 3]
    assert values(store.read(window, bbox=(0, 40, 360, 60))) == [1, 2, 3]


def test_a_store_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path / "nothing")
    assert len(store.read(minutes(0, 60))) == 0
    assert store.summary() == []
    assert not (tmp_path / "nothing").exists()


def test_rows_without_time_are_stored_and_counted_but_in_no_window(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path)
    observations = rows([1, 2]).replace(time=np.array(["NaT", T0 + np.timedelta64(1, "m")], dtype="datetime64[us]"))
    store.add(observations, "synop", Input("a"))
    store.add(rows([]), "temp", Input("b"))
    assert len(store.read(minutes(-10000, 10000))) == 1
    assert store.summary() == [
        {"source": "synop", "batches": 1, "rows": 2, "first": "2019-02-17T12:01:00", "last": "2019-02-17T12:01:00"},
        {"source": "temp", "batches": 1, "rows": 0, "first": None, "last": None},
    ]


def test_what_a_killed_writer_left_is_not_read_and_is_removed(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path)
    store.add(rows([1]), "synop", Input("a"))
    complete = next((tmp_path / "batches").iterdir()).read_bytes()
    (tmp_path / "batches" / "synop-ffff-0.parquet").write_bytes(complete)  # written, not yet in the manifest
    (tmp_path / "batches" / ".synop-eeee-0.partial.parquet").write_bytes(complete[:100])
    assert values(store.read(minutes(0, 60))) == [1]
    store.add(rows([2]), "synop", Input("b"))
    assert values(store.read(minutes(0, 60))) == [1, 2]
    assert len(list((tmp_path / "batches").iterdir())) == 2


_WRITER = """
import sys
import numpy as np
from stormda.store.observations import Input, ObservationStore
from tests_rows import rows
store = ObservationStore(__import__("pathlib").Path(sys.argv[1]))
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    store.add(rows([number + 1], sys.argv[2]), sys.argv[2], Input(str(number)))
"""


def _writer(tmp_path: Path, source: str, count: int) -> "subprocess.Popen[str]":
    module = tmp_path / "modules" / "tests_rows.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(module.parent)])}
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "store"), source, str(count)]
    return subprocess.Popen(command, env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE)


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    writers = [_writer(tmp_path, source, 15) for source in ("synop", "temp")]
    assert [w.wait(60) for w in writers] == [0, 0]
    store = ObservationStore(tmp_path / "store")
    expected = [float(n) for n in range(1, 16)]
    assert [values(store.read(minutes(0, 60), [source])) for source in ("synop", "temp")] == [expected, expected]


def test_kill_leaves_whole_batches(tmp_path: Path) -> None:
    writer = _writer(tmp_path, "synop", 10000)
    assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    store = ObservationStore(tmp_path / "store")
    while len(store.summary()) == 0 or int(str(store.summary()[0]["rows"])) < 3:
        pass  # A reader beside a writer sees whole batches all the time.
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    seen = values(store.read(minutes(0, 100000)))
    assert seen == [float(n) for n in range(1, len(seen) + 1)]
    store.add(rows([0]), "temp", Input("after"))  # the dead writer's lock holds nobody up
    assert values(store.read(minutes(-1, 100000))) == [0.0, *seen]


def test_damage_is_an_input_error(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path)
    store.add(rows([1]), "synop", Input("a"))
    file = next((tmp_path / "batches").iterdir())
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match="damaged"):
        store.read(minutes(0, 60))
    file.unlink()
    with pytest.raises(InputError, match="not there"):
        store.read(minutes(0, 60))
    (tmp_path / "manifest.json").write_text(json.dumps([{"id": 1}]))
    with pytest.raises(InputError, match="manifest is damaged"):
        store.read(minutes(0, 60))


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        ObservationStore(tmp_path / "file" / "store").add(rows([1]), "synop", Input("a"))


def test_batches_are_ordered_by_time(tmp_path: Path) -> None:
    ObservationStore(tmp_path).add(rows([5, 1, 3]), "synop", Input("a"))
    table = pq.read_table(next((tmp_path / "batches").iterdir()))
    assert table.column("value").to_pylist() == [1, 3, 5]
