"""A network trained for seconds beats persistence where there is more to know; training is a function of its seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stormda.errors import CheckpointError, ConfigError
from stormda.grid import Grid
from stormda.normaliser import Normaliser
from stormda.training.data import Series
from stormda.training.job import Job, train_storm
from stormda.training.loop import Settings
from stormda.training.rollout import Rollout
from stormda.training.stream import Stream
from stormda.training.transport import Flow
from stormda.variables import Channel

STEP = np.timedelta64(6, "h")
POINTS = 16


def series(t: int, seed: int) -> Series:
    """Waves that move one point a step around a ring and change slowly: persistence is wrong."""
    g = torch.Generator().manual_seed(seed)
    amplitude = 1.0 / (1.0 + torch.arange(POINTS // 2 + 1).float())

    def noise() -> torch.Tensor:
        field = torch.fft.irfft(torch.fft.rfft(torch.randn(POINTS, generator=g)) * amplitude, n=POINTS)
        return (
            field / (amplitude[0] ** 2 + 2 * amplitude[1:-1].square().sum() + amplitude[-1] ** 2).sqrt() * POINTS**0.5
        )

    fields = [noise()]
    for _ in range(t - 1):
        fields.append(0.95 * fields[-1].roll(1) + (1 - 0.95**2) ** 0.5 * noise())
    times = np.datetime64("2001-01-01T00", "s") + STEP * np.arange(t)
    return Series(torch.stack(fields)[:, None, None], times, STEP, np.arange(t))


def job(**changes: object) -> Job:
    grid = Grid(np.zeros(1), np.arange(POINTS) * 360 / POINTS, periodic=(False, True), plane=True)
    normaliser = Normaliser((Channel.parse("x0"),), np.zeros((1, 1, 1, POINTS)), np.ones(1), 0, 0)
    settings = Settings(steps=120, learning_rate=1e-2, warm_up=20, average=0.98, validate_every=60)
    network = {"patch": 1, "width": 16, "blocks": 2, "heads": 2, "latents": 2}
    plain = Job(series(800, 0), series(100, 1), normaliser, grid, network, settings, batch=16, members=0)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_it_learns_what_persistence_does_not_know(tmp_path: Path) -> None:
    trained = train_storm(job(), tmp_path)
    best, persistence = trained.outcome.best, trained.weights.card["persistence"]["rmse x0"]
    # One-step error of perfect knowledge: sqrt(1 - 0.95^2) = 0.31; of persistence about 0.7, by the shift of a point.
    assert best["rmse x0"] < 0.65 * persistence
    assert trained.outcome.curve[-1]["loss"] < 0.8  # 1: independent points and persistence
    assert trained.weights.sigma[1] > 5.0


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    short = replace(job().settings, steps=5, validate_every=5)
    a, b, c = (train_storm(job(settings=short, seed=s), tmp_path / str(i)).weights for i, s in enumerate((3, 3, 4)))
    assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
    assert any(not torch.equal(a.tensors[name], c.tensors[name]) for name in a.tensors)


class Disk:
    """A series that is read when it is asked for; chunks of ten times."""

    def __init__(self, held: Series) -> None:
        self.held, self.times, self.step, self.identity = held, held.times, held.step, "ring"
        self.shape = (1, 1, POINTS)
        self.chunks = np.arange(len(held.times)) // 10

    def read(self, index: np.ndarray) -> torch.Tensor:
        return self.held.fields[torch.as_tensor(index)]


def test_streamed_data_train_as_well_and_go_on_as_exactly(tmp_path: Path) -> None:
    def streamed(steps: int) -> Job:
        data = Stream(Disk(series(800, 0)), 1, 16, 4 * 100 * 4 * POINTS, seed=0)  # an eighth of the fields at a time
        return job(train=data, settings=replace(job().settings, steps=steps, warm_up=5, validate_every=12))

    left = iter([False] * 12 + [True])
    whole = train_storm(streamed(24), tmp_path / "whole")
    train_storm(streamed(24), tmp_path / "parts", stop=lambda: next(left))
    rest = train_storm(streamed(24), tmp_path / "parts")
    assert all(torch.equal(rest.weights.tensors[k], t) for k, t in whole.weights.tensors.items())
    assert [row["loss"] for row in rest.outcome.curve] == [row["loss"] for row in whole.outcome.curve]
    assert whole.outcome.best["rmse x0"] < whole.weights.card["linear"]["rmse x0"] + 0.05


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    short = replace(job().settings, steps=2, validate_every=2)
    train_storm(job(settings=short), tmp_path)
    wider = {"patch": 1, "width": 32, "blocks": 2, "heads": 2, "latents": 2}
    with pytest.raises(CheckpointError, match="width: 16 -> 32"):
        train_storm(job(settings=short, network=wider), tmp_path)


def test_a_network_that_cannot_be_built_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple"):
        train_storm(job(network={"patch": 1, "width": 18, "blocks": 1, "heads": 2, "latents": 0}), tmp_path)


def test_fine_tuning_on_own_analyses_goes_on_exactly(tmp_path: Path) -> None:
    settings = replace(job().settings, steps=16, warm_up=5, validate_every=8)
    tuned = job(settings=settings, rollout=Rollout(steps=2, after=0.5, share=0.5))
    left = iter([False] * 10 + [True])
    whole = train_storm(tuned, tmp_path / "whole")
    train_storm(tuned, tmp_path / "parts", stop=lambda: next(left))
    rest = train_storm(tuned, tmp_path / "parts")
    assert all(torch.equal(rest.weights.tensors[k], t) for k, t in whole.weights.tensors.items())
    plain = train_storm(job(settings=settings), tmp_path / "plain")
    assert any(not torch.equal(plain.weights.tensors[k], t) for k, t in whole.weights.tensors.items())
    assert whole.outcome.curve[-1]["cycled rmse x0"] > whole.outcome.curve[-1]["rmse x0"]  # the past is less known


def test_a_training_begins_with_given_weights(tmp_path: Path) -> None:
    short = replace(job().settings, steps=2, validate_every=2, learning_rate=1e-9)
    first = train_storm(job(seed=3), tmp_path / "first").weights
    again = train_storm(job(seed=4, settings=short, start=first), tmp_path / "again").weights
    names = [name for name in first.tensors if name.startswith("network.")]
    assert all(torch.allclose(first.tensors[n], again.tensors[n], atol=1e-6) for n in names)  # two steps of 1e-9
    with pytest.raises(CheckpointError, match=r"train\.start"):
        wider = {"patch": 1, "width": 32, "blocks": 2, "heads": 2, "latents": 2}
        train_storm(job(network=wider, start=first), tmp_path / "other")


def test_a_model_of_the_flow_goes_on_exactly(tmp_path: Path) -> None:
    """Stopped while the model is fitted, and again while the network learns; read from a disk."""
    data = Stream(Disk(series(800, 0)), 1, 16, 4 * 100 * 4 * POINTS, seed=0)
    settings = replace(job().settings, steps=12, warm_up=5, validate_every=6)
    asked = job(train=data, settings=settings, flow=Flow(12), modes=4)
    whole = train_storm(asked, tmp_path / "whole")
    asks = iter([False] * 6 + [True] + [False] * 7 + [True])  # five more steps of the model, three of the network
    parts = [train_storm(asked, tmp_path / "parts", stop=lambda: next(asks)).outcome for _ in range(2)]
    assert [(part.finished, part.step) for part in parts] == [(False, 0), (False, 3)]
    rest = train_storm(asked, tmp_path / "parts")
    assert all(torch.equal(rest.weights.tensors[k], t) for k, t in whole.weights.tensors.items())
    assert rest.outcome.curve[-1]["loss"] == whole.outcome.curve[-1]["loss"]


def test_few_pairs_are_enough_for_the_errors_of_a_model_of_the_flow(tmp_path: Path) -> None:
    settings = Settings(steps=2, validate_every=2)
    few = job(train=series(40, 0), settings=settings, flow=Flow(60), modes=4)  # errors are computed 32 at a time
    tensors = train_storm(few, tmp_path).weights.tensors
    assert float(tensors["guess.noise"].diagonal().min()) > 0
    assert torch.isfinite(tensors["guess.correlation"]).all()


def test_a_training_begins_with_a_model_of_the_flow(tmp_path: Path) -> None:
    """The weights are those of the file; what is done with them is what the configuration says."""
    short = Settings(steps=0)
    first = train_storm(job(settings=short, flow=Flow(4), modes=4), tmp_path / "first").weights
    asked = job(settings=short, flow=Flow(4, substeps=2, errors=True), modes=4, start=first)
    again = train_storm(asked, tmp_path / "again").weights.tensors
    assert torch.equal(again["guess.transport.winds"], first.tensors["guess.transport.winds"])
    assert bool(again["guess.transport.errors"]) and int(again["guess.transport.substeps"]) == 2
    without = train_storm(job(settings=short, modes=4), tmp_path / "without").weights
    with pytest.raises(CheckpointError, match=r"train\.start"):
        train_storm(replace(asked, start=without), tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"train\.start"):
        train_storm(job(settings=short, modes=4, start=first), tmp_path / "another")


def test_the_weights_know_the_background_errors_and_a_training_of_no_steps_adds_them(tmp_path: Path) -> None:
    short = Settings(steps=4, validate_every=4)
    first = train_storm(job(settings=short), tmp_path / "first").weights
    assert not any(name.startswith("background.") for name in first.tensors)
    added = train_storm(
        job(settings=replace(short, steps=0), start=first, background_modes=8), tmp_path / "added"
    ).weights
    assert all(torch.equal(added.tensors[name], value) for name, value in first.tensors.items())
    assert added.tensors["background.linear.modes"].shape == (8, POINTS)
    # As wide as the errors at high noise, but for the sampling error that test_background.py derives.
    assert 0.5 < float(added.tensors["background.share"][-1]) < 1.5


@pytest.mark.soak
def test_a_compiled_training_is_the_same_training(tmp_path: Path) -> None:
    plain, compiled = (
        train_storm(job(settings=Settings(steps=4, validate_every=4, compile=c)), tmp_path / str(c))
        for c in (False, True)
    )
    # Kernels that are fused add up in another order: four steps of Adam on float32 rounding (6e-8) of the gradients.
    assert compiled.outcome.best["loss"] == pytest.approx(plain.outcome.best["loss"], rel=1e-4)
