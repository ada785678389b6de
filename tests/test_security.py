"""What a configuration, an archive or a file of reports can do: be read. Nothing else.

Rules about the code are read from its syntax tree; the rest is tried.
"""

import ast
import gzip
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stormda.config import dump, load
from stormda.config.reading import _Loader
from stormda.errors import CheckpointError, ConfigError, InputError, InputMissing
from stormda.nn.weights import load_weights
from stormda.pipeline.build import weights_path
from stormda.pipeline.init import init
from stormda.pipeline.train import _weights_path
from stormda.sources import files, table
from stormda.sources.files import read_bytes
from stormda.store.observations import ObservationStore
from stormda.time import Window
from stormda.training.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[1]
CODE = sorted(p for folder in ("stormda", "cli", "templates") for p in (ROOT / folder).rglob("*.py"))
BASE = "channels: [msl]\n"


# --- rules -----------------------------------------------------------------------------------------------------------


def calls() -> Iterator[tuple[str, str, dict[str, ast.expr]]]:
    """Place, dotted name and keywords of every call in the code."""
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                keywords = {k.arg: k.value for k in node.keywords if k.arg}
                yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), keywords


def test_no_file_becomes_code() -> None:
    """No pickle, no eval, no archive that is unpacked where its names say, no shell."""
    forbidden = {"eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "torch.jit.load"}
    forbidden |= {"joblib.load", "pd.read_pickle", "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp"}
    found = [place for place, name, _ in calls() if name in forbidden or name.endswith((".extractall", ".extract"))]
    assert found == []
    assert [place for place, _, words in calls() if "shell" in words] == []
    assert [place for place, _, words in calls() if "allow_pickle" in words] == []


def test_tensors_are_read_as_tensors_alone() -> None:
    found = [(place, words.get("weights_only")) for place, name, words in calls() if name == "torch.load"]
    assert found and all(isinstance(value, ast.Constant) and value.value is True for _, value in found)


def test_yaml_is_data() -> None:
    found = {(p.partition(":")[0], name) for p, name, _ in calls() if name.startswith("yaml.") and "load" in name}
    # `reading` has a loader of its own, a SafeLoader that knows no more kinds of values than that.
    assert {name for _, name in found} == {"yaml.load", "yaml.safe_load"}
    assert {place for place, name in found if name == "yaml.load"} == {"stormda/config/reading.py"}
    assert set(_Loader.yaml_constructors) == set(yaml.SafeLoader.yaml_constructors)


def test_only_downloads_talk_to_the_network() -> None:
    """Two modules read what `files:` names at URLs; a third takes such names apart."""
    names = {"urllib", "http", "ftplib", "requests", "httpx", "aiohttp", "fsspec", "s3fs", "obstore"}
    found = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [str(path) for m in modules if m.split(".")[0] in names]
    assert {path.partition("stormda/sources/")[2] for path in found} == {"cache.py", "transport.py", "urls.py"}


# --- tried -----------------------------------------------------------------------------------------------------------


class Mine:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_or_weights_with_code_in_them_are_damaged(tmp_path: Path) -> None:
    mine = tmp_path / "hacked"
    file = tmp_path / "checkpoint.pt"
    torch.save({"job": "j", "state": Mine(mine)}, file)
    with pytest.raises(CheckpointError):
        read_checkpoint(file, "j")
    for data in (pickle.dumps(Mine(mine)), file.read_bytes()):
        file.write_bytes(data)
        with pytest.raises(CheckpointError):
            load_weights(file)
    assert not mine.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("!!python/object/apply:os.system ['touch hacked']", "not valid YAML"),
        ("name: !!python/name:os.system\n" + BASE, "not valid YAML"),
        (BASE + "x: &x [*x]\n", "no configuration"),
        (BASE + "a0: &a0 [1]\n" + "".join(f"a{k + 1}: &a{k + 1} [{f'*a{k},' * 9}]\n" for k in range(9)), "aliases"),
        (BASE + "x: " + "[" * 5000, "nested too deeply|not valid YAML"),
        (BASE + "#" * (1 << 20), "characters are no configuration"),
    ],
)
def test_a_hostile_configuration_is_refused_at_once(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(tmp_path / "config.yaml")
    assert not list(tmp_path.rglob("hacked")) and not Path("hacked").exists()


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", ".."])
def test_products_stay_in_the_run_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "config.yaml").write_text(BASE + "run_dir: run\n")
    config = load(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="leaves the run folder"):
        config.below_run(path)
    assert config.below_run("a/../b") == tmp_path / "run" / "b"
    elsewhere = ["storm.weights=../other/weights.safetensors"]
    with pytest.raises(ConfigError, match="leaves the run folder"):
        _weights_path(load(tmp_path / "config.yaml", elsewhere))  # Where a training writes ...
    with pytest.raises(InputMissing, match="are not there") as caught:
        weights_path(load(tmp_path / "config.yaml", elsewhere))  # ... and what a prior reads.
    assert str(caught.value.file) == str(tmp_path / "other" / "weights.safetensors")
    assert config.below_run("/var/lib/metrics.prom") == Path("/var/lib/metrics.prom")  # Written so, it is meant.


def test_a_name_is_no_path(tmp_path: Path) -> None:
    for name in ("../a", "a/b", "", "-x", "a\nb"):
        with pytest.raises(ConfigError):
            load(None, [], {"name": name, "channels": ["msl"]})
    store = ObservationStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    line = '{"id": "x", "file": "../../secret.parquet", "source": "s", "name": "n", "sha256": "", "rows": 1, '
    line += '"first": "2019-01-01T00:00Z", "last": "2019-01-01T00:00Z"}'
    (tmp_path / "store" / "manifest.json").write_text(f"[{line}]")
    with pytest.raises(InputError, match="the manifest is damaged"):
        store.read(Window(np.datetime64("2018-12-31", "s"), np.datetime64("2019-01-02", "s")))


def test_what_is_packed_may_not_be_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of what it unpacks to: it is given up when the limit is reached, and not first unpacked."""
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 500_000))
    with pytest.raises(InputError, match="holds more than"):
        read_bytes(bomb, most=1000)
    monkeypatch.setattr(table, "MOST", 1000)
    with pytest.raises(InputError, match="holds more than"):
        table.read_columns(bomb, ["a"], "key")
    monkeypatch.setattr(table, "MOST", files.MOST)
    assert len(table.read_columns(bomb, ["a"], "key")) == 500_000


@pytest.mark.parametrize(("mask", "forbidden"), [(0o077, 0o077), (0o022, 0o022)])
def test_what_is_written_is_for_whom_the_umask_says(tmp_path: Path, mask: int, forbidden: int) -> None:
    before = os.umask(mask)
    try:
        init(tmp_path / "project", "sqg-demo")
    finally:
        os.umask(before)
    written = [p for p in (tmp_path / "project").rglob("*")]
    assert len(written) > 8 and not [p for p in written if stat.S_IMODE(p.stat().st_mode) & forbidden]
    assert stat.S_IMODE((tmp_path / "project" / "jobs" / "cycle.sh").stat().st_mode) == 0o777 & ~mask


def test_a_fault_is_kept_where_nobody_could_have_put_a_link(tmp_path: Path) -> None:
    """In a folder for temporary files that all may write to, the name cannot be foreseen and the file is new."""
    code = (
        "import stormda.pipeline.doctor as d, sys\nfrom stormda.cli.main import main\n"
        "def broken(*a, **k): raise RuntimeError('unforeseen')\n"
        "d.doctor = broken\nmain(['doctor'])"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    (log,) = tmp_path.glob("stormda-fault-*")
    assert done.returncode == 1 and str(log) in done.stderr
    assert stat.S_IMODE(log.stat().st_mode) == 0o600 and len(log.stem.rpartition("-")[2]) >= 8


def test_the_resolved_configuration_is_data_again(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(BASE + "cycle: {slurm: {account: '$(touch hacked)'}}\n")
    assert yaml.safe_load(dump(load(tmp_path / "config.yaml")))["cycle"]["slurm"]["account"] == "$(touch hacked)"
