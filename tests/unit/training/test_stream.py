"""Fields that are larger than memory: every window in every pass, with its history; a function of the step's number."""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.errors import ConfigError, InputError
from stormda.training.stream import Stream, spread
from stormda.types import Array

STEP = np.timedelta64(6, "h")
SHAPE = (1, 2, 4)
BYTES = 4 * 8


@dataclass(eq=False)
class Disk:
    """Field number t is t everywhere; chunks of five times, a gap after 40; remembers who read what."""

    count: int = 200
    log: list[tuple[str, Array]] = field(default_factory=list)
    step: np.timedelta64 = STEP
    shape: tuple[int, int, int] = SHAPE
    identity: str = "numbers"

    @property
    def times(self) -> Array:
        hours = np.arange(self.count) + 3 * (np.arange(self.count) >= 40)
        return np.datetime64("2001-01-01T00", "s") + STEP * hours

    @property
    def chunks(self) -> Array:
        return np.arange(self.count) // 5

    def read(self, index: Array) -> Tensor:
        self.log.append((threading.current_thread().name, index))
        return torch.as_tensor(index, dtype=torch.float32)[:, None, None, None].expand(-1, *SHAPE).clone()


def stream(disk: Disk | None = None, fields: int = 30, **changes: object) -> Stream:
    options = {"frames": 2, "batch": 8, "memory": 4 * fields * BYTES, "seed": 0} | changes
    return Stream(disk or Disk(), **options)  # type: ignore[arg-type]


def numbers(data: Stream, step: int) -> list[int]:
    series = data.at(step)
    return [int(v) for v in series.fields[torch.as_tensor(series.targets), 0, 0, 0]]


def test_a_pass_learns_every_time_once() -> None:
    data = stream()
    handfuls = -(-len(data._windows) // data._together)
    seen = [n for k in range(handfuls) for n in numbers(data, k * data._steps)]
    assert set(seen) == set(range(200))
    assert len(seen) < 200 + data._together * max(map(len, data._windows))  # the last handful begins the next pass


def test_targets_have_their_history_wherever_it_exists() -> None:
    data = stream()
    for step in range(0, 60, 3):
        series = data.at(step)
        past, targets = series.past(2), series.fields[torch.as_tensor(series.targets), 0, 0, 0]
        for (a, b), target in zip(past, targets.int().tolist(), strict=True):
            older = {0: (-1, -1), 1: (-1, 0), 40: (-1, -1), 41: (-1, 40)}.get(target, (target - 2, target - 1))
            assert tuple(-1 if i < 0 else int(series.fields[i, 0, 0, 0]) for i in (a, b)) == older


def test_a_step_is_a_function_of_its_number_and_the_seed() -> None:
    once, other = stream(), stream(seed=1)
    forward = [numbers(once, step) for step in range(40)]
    again = stream()
    assert numbers(again, 33) == forward[33] and numbers(again, 4) == forward[4]  # as after a resume
    assert [numbers(other, step) for step in range(40)] != forward
    assert any(forward[k] != forward[0] for k in range(40))


def test_the_next_windows_are_read_by_a_thread_and_no_more_than_fit() -> None:
    disk = Disk()
    data = stream(disk, fields=30)
    for step in range(30):
        data.at(step)
    assert all(name.startswith("read-ahead") for name, _ in disk.log)
    assert max(len(index) for _, index in disk.log) <= 30
    assert len(disk.log) <= 30 // data._steps + 2  # each handful is read once, and one ahead


def test_windows_are_whole_chunks() -> None:
    disk = Disk()
    for window in stream(disk)._windows:
        assert window[0] % 5 == 0 and window[-1] % 5 == 4


def test_an_even_sample_fits_its_share() -> None:
    sample = spread(Disk(), 4 * 30 * BYTES, 2)
    numbers = sample.fields[:, 0, 0, 0]
    assert len(numbers) <= 30 and numbers.min() < 20 and numbers.max() > 180


def test_too_little_memory_says_how_much_is_needed() -> None:
    with pytest.raises(ConfigError, match="holds 5 fields") as error:
        stream(fields=5)
    assert error.value.key == "train.memory" and "train.memory=1" in str(error.value.hint)


def test_a_damaged_disk_ends_the_training() -> None:
    class Broken(Disk):
        def read(self, index: Array) -> Tensor:
            raise InputError("the archive is damaged")

    with pytest.raises(InputError, match="damaged"):
        stream(Broken()).at(0)


def test_other_handling_is_another_job() -> None:
    assert stream().digest() == stream().digest() != stream(fields=60).digest()
