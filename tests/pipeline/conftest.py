"""The tiny world's files, made once, and a run folder of its own for each test."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))  # for `tiny_world`

from tiny_world import FIRST, Ended, World, command, configuration, reports, stamp, true_fields, write_archive  # noqa: E402


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The files, and `run` beside them with everything ingested."""
    folder, truth = tmp_path_factory.mktemp("world"), true_fields()
    write_archive(folder / "archive.nc", truth)
    reports(truth, range(FIRST, FIRST + 4)).to_csv(folder / "stations.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration()))
    ended = command("ingest", "-c", folder / "config.yaml")
    assert ended.code == 0, ended.err
    return World(folder, truth)


@pytest.fixture(scope="module")
def few_draws() -> Iterator[None]:
    """Trainings judge the width of their draws by a few states: most of the time of a short one goes there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stormda.training.background._DRAWN", 4)
        yield


@pytest.fixture
def run(world: World, tmp_path: Path) -> Callable[..., Ended]:
    """`run("assimilate", ...)` works in a run folder of its own, `tmp_path/run`, in which everything is ingested."""
    shutil.copytree(world.folder / "run", tmp_path / "run")

    def here(verb: str, *arguments: object) -> Ended:
        return command(verb, "-c", world.config, *arguments, f"run_dir={tmp_path / 'run'}")

    return here


@pytest.fixture(scope="session")
def analyses(world: World) -> Path:
    """A run folder after three cycles with two splits; its products are not to be changed."""
    folder = shutil.copytree(world.folder / "run", world.folder / "cycled")
    cycles = "--from", stamp(FIRST), "--to", stamp(FIRST + 2)
    ended = command("assimilate", "-c", world.config, *cycles, f"run_dir={folder}")
    assert ended.code == 0, ended.err
    return folder
