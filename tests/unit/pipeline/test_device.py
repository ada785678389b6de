"""Which device a configuration means, with and without an accelerator."""

import pytest
import torch

from stormda.config import Config
from stormda.errors import ConfigError
from stormda.pipeline.device import device_of, precision_of


def asked(**compute: str) -> Config:
    return Config.model_validate({"channels": ["x0"], "compute": compute})


def accelerator(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


@pytest.mark.parametrize(
    ("device", "there", "expected"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cpu", True, "cpu"),
        ("cuda", True, "cuda"),
        ("gpu", True, "cuda"),
    ],
)
def test_an_accelerator_is_used_where_it_is_and_may_be(
    monkeypatch: pytest.MonkeyPatch, device: str, there: bool, expected: str
) -> None:
    accelerator(monkeypatch, there)
    assert device_of(asked(device=device)) == expected


def test_one_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator(monkeypatch, False)
    with pytest.raises(ConfigError, match=r"compute\.device.*hint"):
        device_of(asked(device="cuda"))


def test_bfloat16_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator(monkeypatch, True)
    assert precision_of(asked(precision="bfloat16")) is torch.bfloat16
    assert precision_of(asked()) is None
    with pytest.raises(ConfigError, match=r"compute\.precision.*hint"):
        precision_of(asked(precision="bfloat16", device="cpu"))
