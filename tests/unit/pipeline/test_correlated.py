"""The configured correlation of a source reaches the problem that methods are given."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stormda.config import load
from stormda.diffusion.history import History
from stormda.errors import ConfigError
from stormda.observations import Observations
from stormda.operators.correlate import decorrelation
from stormda.pipeline import assimilate
from stormda.pipeline.parts import UNCUT

TIME = np.datetime64("2020-01-01T00:00:00")
SONDES = "files: [a.bufr], kind: bufr, report: temp"
OVERRIDE = (
    f"observations.sources={{sondes: {{{SONDES}, errors: {{t: {{instrument: 1, correlation: 0.4}}, z: 50}}}}, "
    f"others: {{{SONDES}, errors: {{t: 1}}}}}}"
)


class Values:
    """An operator that reads the state as it is; half of the first variance comes from the time between frames."""

    extra_variance = torch.tensor([0.5, 0.0, 0.0, 0.0]).double()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(-3)


def observations() -> Observations:
    same = {"report_id": "r", "station_id": "s", "platform": "temp", "level_type": "pressure", "elevation": np.nan}
    place = {"latitude": np.zeros(4), "longitude": np.zeros(4), "time": np.full(4, TIME)}
    named = {"source": np.array(["sondes", "sondes", "sondes", "others"], dtype=object)}
    named |= {"variable": np.array(["t", "t", "z", "t"], dtype=object), "level": np.array([850.0, 500.0, 700.0, 850.0])}
    return Observations.of({**same, **place, **named, "value": np.arange(1.0, 5.0), "error": np.full(4, 0.7)})


def test_levels_of_a_report_are_decorrelated() -> None:
    config = load(None, [OVERRIDE], {"channels": ["t850"]})
    job: Any = SimpleNamespace(config=config, cycle=TIME, parts=UNCUT)
    operator: Any = Values()
    none = History.none(1, (1, 1, 4))
    problem = assimilate._problem(job, none, torch.zeros(2, 1, 1, 4), operator, observations(), lambda z: 2 * z)
    variance = torch.tensor([0.99, 0.49, 0.49, 0.49]).double()
    torch.testing.assert_close(problem.variance, variance)
    apart = decorrelation(observations(), variance, {("sondes", "t"): 0.4})
    assert [rows.tolist() for rows, _ in apart.blocks] == [[[0, 1]]]
    y = torch.arange(1.0, 5.0, dtype=torch.float64)
    torch.testing.assert_close(problem.y, apart(y))
    torch.testing.assert_close(problem.operator(y.view(1, 1, 1, 4) / 2)[0], apart(y))
    assert problem.y[1] != y[1] and torch.equal(problem.y[[0, 2, 3]], y[[0, 2, 3]])


def test_a_correlation_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="greater than or equal to 0") as error:
        load(None, [OVERRIDE.replace("0.4", "-0.4")], {"channels": ["t850"]})
    assert error.value.key == "observations.sources.sondes.errors.t.correlation"
