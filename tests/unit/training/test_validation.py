"""Validation scores: an untrained network is the linear-Gaussian guess, and the same model gets the same scores."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from stormda.training.data import Sampler, statistics
from stormda.training.job import build
from stormda.training.loss import NoiseDensity
from stormda.training.validation import Validation


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


job_case = _module("test_job")


@pytest.fixture(scope="module")
def world() -> tuple[Validation, torch.nn.Module]:
    job = job_case.job(modes=8)
    climate = statistics(job.train, job.roll)
    model = build(job, job.train, climate)
    sampler = Sampler(job.validation, climate, 1, 0.0, job.error, False)
    weights = torch.as_tensor(job.grid.weights, dtype=torch.float32)
    return Validation(sampler, ["x0"], NoiseDensity(0.02, 5 * climate.leading), weights, 0), model


def test_an_untrained_network_is_the_linear_guess(world: tuple[Validation, torch.nn.Module]) -> None:
    validate, model = world
    with torch.no_grad():
        scores = validate(model)
    assert scores == validate.linear(model)
    assert scores["loss"] == pytest.approx(1.0, abs=0.15)  # 256 samples with some eight independent waves, two thirds
    # of them at levels where few waves count: standard error about sqrt(2/500) = 0.06
    # 12 cases with some eight waves: standard error of the error sqrt(1/200) = 0.07, of the sampler +0.04.
    assert scores["spread/skill x0"] == pytest.approx(1.04, abs=0.25)
    # A Gaussian forecast of standard deviation s has a CRPS of s/sqrt(pi) = 0.56 s.
    assert scores["crps x0"] == pytest.approx(0.56 * scores["rmse x0"], rel=0.25)


def test_ensembles_can_be_left_out(world: tuple[Validation, torch.nn.Module]) -> None:
    validate, model = world
    none = Validation(job_case_sampler(validate), ["x0"], validate.density, validate.weights, 0, members=0)
    with torch.no_grad():
        assert not any(name.startswith(("crps", "spread")) for name in none(model))
    assert set(none.persistence()) == {"rmse x0"} and set(validate.persistence()) == {"rmse x0", "crps x0"}


def job_case_sampler(validate: Validation) -> Sampler:
    job = job_case.job()
    return Sampler(job.validation, statistics(job.train, job.roll), 1, 0.0, job.error, False)
