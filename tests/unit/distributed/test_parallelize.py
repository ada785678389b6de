"""Training over ranks has the curve of one process, and a checkpoint is good for any number of ranks."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo_world import ranks
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from stormda.config.presets import PRESETS
from stormda.distributed.parallelize import Spread, cut, on_meta, read_weights
from stormda.errors import CheckpointError, ConfigError, InputMissing, StormdaError
from stormda.grid import Grid
from stormda.nn.storm import Storm
from stormda.normaliser import Normaliser
from stormda.training.data import Series
from stormda.training.job import Job, Trained, train_storm
from stormda.training.loop import Settings, fit
from stormda.training.rollout import Rollout
from stormda.training.transport import Flow
from stormda.variables import Channel

POINTS = 16
SIZE: dict[str, Any] = {"patch": 1, "width": 16, "blocks": 2, "heads": 2, "latents": 2}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty steps take a minute where twenty processes share a core."""
    monkeypatch.setattr("gloo_world.TIMEOUT", 240)


def over_ranks(shape: tuple[int, int], work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`work(mesh, *arguments)` on ensemble x shard ranks of this machine; what each answers."""
    return ranks(shape[0] * shape[1], _with_mesh, shape, work, *arguments)


def _with_mesh(shape: tuple[int, int], work: Callable[..., Any], *arguments: Any) -> Any:
    return work(init_device_mesh("cpu", shape, mesh_dim_names=("ensemble", "shard")), *arguments)


def series(count: int, seed: int) -> Series:
    """A wave that moves a point a step."""
    g = torch.Generator().manual_seed(seed)
    phase, amplitude = torch.rand(count, 1, generator=g), 1 + 0.1 * torch.randn(count, 1, generator=g)
    places = (torch.arange(POINTS)[None] - torch.arange(count)[:, None]) * 2 * torch.pi / POINTS
    fields = amplitude * torch.sin(places + 0.1 * phase) + 0.1 * torch.randn(count, POINTS, generator=g)
    step = np.timedelta64(6, "h")
    times = np.datetime64("2001-01-01T00", "s") + step * np.arange(count)
    return Series(fields[:, None, None], times, step, np.arange(count))


def job(**changes: Any) -> Job:
    grid = Grid(np.zeros(1), np.arange(POINTS) * 360 / POINTS, periodic=(False, True), plane=True)
    normaliser = Normaliser((Channel.parse("x0"),), np.zeros((1, 1, 1, POINTS)), np.ones(1), 0, 0)
    settings = Settings(steps=50, learning_rate=1e-2, warm_up=5, average=0.9, validate_every=10, checkpoint_every=1e9)
    plain = Job(series(200, 0), series(40, 1), normaliser, grid, SIZE, settings, batch=8, members=0, seed=5,
                rollout=Rollout(1, 0.5, 0.4))  # fmt: skip
    return replace(plain, **changes)


def trained(mesh: DeviceMesh, folder: Path, until: int, asked: Job) -> tuple[list[dict[str, float]], Trained | None]:
    """Train up to a step; the first rank tells."""
    team, left = Spread(mesh), [until]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0 and team.number == team.count - 1  # a signal that reached one of them

    done = train_storm(asked, folder, team=team, stop=stop)
    return done.outcome.curve, done if team.number == 0 else None


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_storm(job(), tmp_path_factory.mktemp("alone"))


def same_curve(found: list[dict[str, float]], wanted: list[dict[str, float]]) -> None:
    """Equal but for the order of sums: 1e-7 of a gradient, which 50 steps of Adam and 1e-2 magnify a thousandfold."""
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for one, other in zip(found, wanted, strict=True):
        for name in ("train", "loss", "rmse x0", "rate"):
            assert one[name] == pytest.approx(other[name], rel=1e-4, abs=1e-9), (name, one["step"])


@pytest.mark.parametrize("shape", [(2, 1), (1, 2)], ids=["ensemble", "shard"])
def test_two_ranks_have_the_curve_of_one(tmp_path: Path, alone: Trained, shape: tuple[int, int]) -> None:
    first, second = over_ranks(shape, trained, tmp_path / "run", 10**9, job())
    same_curve(first[0], alone.outcome.curve)
    assert [row["loss"] for row in second[0]] == [row["loss"] for row in first[0]]
    weights = first[1].weights.tensors
    assert weights.keys() == alone.weights.tensors.keys()
    for name, tensor in alone.weights.tensors.items():
        assert weights[name].shape == tensor.shape
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 6  # written once


@pytest.mark.parametrize("shape", [(2, 1), (1, 2)], ids=["ensemble", "shard"])
def test_a_model_of_the_flow_is_whole_on_every_rank(tmp_path: Path, shape: tuple[int, int]) -> None:
    settings = replace(job().settings, steps=4, validate_every=2)
    short = job(flow=Flow(6), settings=settings, rollout=Rollout())
    one = train_storm(short, tmp_path / "one")
    first, _ = over_ranks(shape, trained, tmp_path / "run", 10**9, short)
    same_curve(first[0], one.outcome.curve)
    for name, tensor in one.weights.tensors.items():
        if name.startswith("guess.transport."):
            # Six steps of Adam: 1e-7 of a gradient, magnified where a gradient is small.
            assert torch.allclose(first[1].weights.tensors[name], tensor, atol=1e-5), name


@pytest.mark.soak
def test_groups_of_shards_have_it_too(tmp_path: Path, alone: Trained) -> None:
    short = job(rollout=Rollout())
    curves = over_ranks((2, 2), trained, tmp_path / "run", 10, short)
    one = train_storm(short, tmp_path / "one", stop=_after(10))
    assert len(one.outcome.curve) == 1
    same_curve(curves[0][0], one.outcome.curve)


def _after(steps: int) -> Callable[[], bool]:
    left = iter([False] * (steps - 1))
    return lambda: next(left, True)


@pytest.mark.parametrize("shape", [(2, 1), (1, 2)], ids=["ensemble", "shard"])
def test_what_two_ranks_saved_one_goes_on_from_and_the_other_way(tmp_path: Path, shape: tuple[int, int]) -> None:
    folder, short = tmp_path / "run", job(settings=replace(job().settings, steps=15))
    whole = train_storm(short, tmp_path / "whole")
    over_ranks(shape, trained, folder, 5, short)
    middle = train_storm(short, folder, stop=_after(6))
    assert middle.outcome.step == 11 and not middle.outcome.finished
    last, _ = over_ranks(shape, trained, folder, 10**9, short)
    same_curve(last[0], whole.outcome.curve)


def test_fewer_samples_than_ranks_are_refused(tmp_path: Path) -> None:
    class Three:
        number, count = 0, 3

    with pytest.raises(ConfigError, match="3 ranks share train.batch=2") as error:
        train_storm(job(batch=2, rollout=Rollout()), tmp_path, team=Three())  # type: ignore[arg-type]
    assert error.value.key == "train.batch"


def _diverged(mesh: DeviceMesh, folder: Path) -> str:
    team = Spread(mesh)
    model = nn.Linear(2, 1)
    settings = Settings(steps=3, warm_up=1, validate_every=1)
    own = folder / str(team.number)  # disks of their own

    def objective(network: nn.Module, step: int) -> Tensor:
        return network(torch.ones(1, 2)).square().mean()

    if team.number == 0:
        fit(model, objective, lambda _: {"loss": 1.0}, settings, own, job="")
    try:
        fit(model, objective, lambda _: {"loss": 1.0}, settings, own, job="", team=team)
    except StormdaError as error:
        return str(error)
    return ""


def test_ranks_that_find_different_checkpoints_say_so(tmp_path: Path) -> None:
    told = over_ranks((2, 1), _diverged, tmp_path)
    assert all("different steps" in text and "share" in text for text in told)


def network(block: Callable[..., nn.Module] | None = None, **changes: Any) -> Storm:
    torch.manual_seed(1)
    size: dict[str, Any] = SIZE | {"tile": 2, "halo": 1} | changes | ({} if block is None else {"block": block})
    storm = Storm(2, (6, 8), torch.ones(3, 6, 8), periodic=(False, True), frames=1, **size)
    if block is None:  # the head of an untrained network is zero, and answers nothing
        nn.init.normal_(storm.head.weight)
    return storm


def fields() -> list[Tensor]:
    g = torch.Generator().manual_seed(2)
    state, mean = torch.randn(2, 5, 2, 6, 8, generator=g), torch.randn(2, 1, 2, 6, 8, generator=g)
    return [
        state,
        torch.zeros(2),
        mean,
        torch.full_like(mean, 0.3),
        torch.ones(2, 1, dtype=torch.bool),
        torch.zeros(2, 4),
    ]


def answers(storm: nn.Module) -> list[Tensor]:
    """Of the network, and two products with the derivative of one answer, as guidance takes them."""
    x, *rest = fields()
    x.requires_grad_()
    y = storm(x, *rest)
    pulls = [torch.autograd.grad(y, x, w, retain_graph=True)[0] for w in (torch.ones_like(y), y.detach())]
    with torch.no_grad():
        again = storm(x, *rest)
    return [y.detach(), again, *pulls]


def _inference(mesh: DeviceMesh, paths: list[Path]) -> tuple[list[Tensor], float, float]:
    storm = network(lambda *a: cut(on_meta(*a), mesh)).requires_grad_(False)
    cut(storm, mesh)
    read_weights(storm, paths)
    parts = [p.to_local() for p in storm.parameters() if isinstance(p, DTensor)]
    held = sum(p.numel() for p in parts) / sum(p.numel() for p in storm.parameters())
    return answers(storm), held, float(len(parts) == len(list(storm.parameters())))


def test_weights_that_are_cut_answer_as_whole_ones(tmp_path: Path) -> None:
    whole = network().requires_grad_(False)
    state = {f"model.{name}": value.contiguous() for name, value in whole.state_dict().items()}
    names = sorted(state)
    paths = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    for path, some in zip(paths, (names[::2], names[1::2]), strict=True):
        save_file({name: state[name] for name in some}, path)
    wanted = answers(whole)
    for found, held, all_cut in over_ranks((1, 2), _inference, paths):
        assert all_cut and held == pytest.approx(0.5, abs=0.1)  # odd numbers of rows
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)  # the same sums in the same order
    with pytest.raises(InputMissing):
        read_weights(whole, [tmp_path / "3.safetensors"])
    with pytest.raises(CheckpointError, match="lack"):
        read_weights(whole, paths[:1])
    with pytest.raises(CheckpointError, match="has shape"):
        read_weights(network(latents=4), paths)
    paths[0].write_bytes(paths[0].read_bytes()[:40])
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(whole, paths)


def _initial(mesh: DeviceMesh) -> Mapping[str, Tensor]:
    storm = network(Spread(mesh).block)
    storm.head.weight.data.zero_()
    return Spread(mesh).gather(cut(storm, mesh).state_dict())


def test_blocks_that_are_cut_as_they_are_built_have_the_same_initial_weights() -> None:
    wanted = network()
    nn.init.zeros_(wanted.head.weight)
    first, second = over_ranks((1, 2), _initial)
    for name, value in wanted.state_dict().items():
        assert torch.equal(first[name], value)
    assert not second["blocks.0.gate.weight"].numel()  # whole on the first rank alone


def _rounded(mesh: DeviceMesh) -> tuple[Tensor, Tensor]:
    storm = network(Spread(mesh, torch.bfloat16).block)
    nn.init.normal_(storm.head.weight, generator=torch.Generator().manual_seed(3))
    y = cut(storm, mesh)(*fields())
    y.square().sum().backward()
    gradient = dict(storm.named_parameters())["blocks.0.gate.weight"].grad
    assert isinstance(gradient, DTensor)
    return y.detach(), gradient.full_tensor()


def test_blocks_run_in_another_precision() -> None:
    whole = network()
    nn.init.normal_(whole.head.weight, generator=torch.Generator().manual_seed(3))
    y = whole(*fields())
    y.square().sum().backward()
    found, gradient = over_ranks((1, 2), _rounded)[0]
    assert found.dtype == gradient.dtype == torch.float32
    # bfloat16 has eight bits: 2^-9 an operation, of which some tens follow one another in two blocks, at random.
    off = (found - y.detach()).norm() / y.norm()
    assert 1e-4 < off < 0.03
    exact = dict(whole.named_parameters())["blocks.0.gate.weight"].grad
    assert exact is not None and (gradient - exact).norm() < 0.1 * gradient.norm()


def _ten_billion(mesh: DeviceMesh) -> tuple[int, int, bool]:
    with torch.device("meta"):
        size: dict[str, Any] = dict(PRESETS["10B"].arguments())
        storm = Storm(6, (32, 64), torch.ones(11, 32, 64), periodic=(False, True), frames=2, patch=2, **size,
                      block=lambda *a: cut(on_meta(*a), mesh))  # fmt: skip
    cut(storm, mesh)
    parameters = list(storm.parameters())
    local = sum(p.to_local().numel() for p in parameters if isinstance(p, DTensor))
    return sum(p.numel() for p in parameters), local, all(p.device.type == "meta" for p in parameters)


def test_ten_billion_parameters_are_cut_without_being_built() -> None:
    for total, local, meta in over_ranks((1, 2), _ten_billion):
        assert meta and 7.9e9 < total < 8.1e9  # see stormda.config.presets
        assert local == pytest.approx(total / 2, rel=1e-3)
