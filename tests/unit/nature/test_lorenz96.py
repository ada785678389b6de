"""Lorenz-96: order of the scheme, invariants, chaos, determinism."""

import numpy as np
import pytest
import torch

from stormda.errors import ConfigError
from stormda.nature.lorenz96 import Lorenz96


def slope(x: list[float], y: list[float]) -> float:
    """The power of x that fits y."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def after(model: Lorenz96, x: torch.Tensor, time: float) -> torch.Tensor:
    return model.spin_up(x, round(time / model.dt))


def test_runge_kutta_is_of_fourth_order() -> None:
    x = Lorenz96().spin_up(Lorenz96().initial(4, seed=1, dtype=torch.float64))
    steps = [0.04, 0.02, 0.01, 0.005]
    exact = after(Lorenz96(dt=0.0005), x, 0.4)  # 10^4 times more exact than the finest of the others
    errors = [float((after(Lorenz96(dt=dt), x, 0.4) - exact).norm()) for dt in steps]
    # The next term of the error is O(dt) relative to the leading one: below 0.3 at dt = 0.04 and averaged over the fit.
    assert slope(steps, errors) == pytest.approx(4.0, abs=0.3)


def test_one_tendency_by_hand() -> None:
    x = torch.tensor([1.0, 2.0, 4.0, 7.0, 11.0])
    # i = 0: (x1 - x3) x4 - x0 + F = (2 - 7) 11 - 1 + 8; i = 2: (x3 - x0) x1 - x2 + F = (7 - 1) 2 - 4 + 8. Exact
    # integers.
    got = Lorenz96(d=5).tendency(x)
    assert got[0] == -48.0
    assert got[2] == 16.0


def test_advection_conserves_energy_to_the_order_of_the_scheme() -> None:
    x = Lorenz96().initial(4, seed=2, dtype=torch.float64)
    steps = [0.02, 0.01, 0.005]
    drifts = []
    for dt in steps:
        model = Lorenz96(forcing=0.0, damping=0.0, dt=dt)
        drifts.append(float((after(model, x, 0.4).square().sum(-1) / x.square().sum(-1) - 1).abs().max()))
    # A scheme of order 4 changes every invariant by O(dt^4) in a fixed time; the next term, of the sign of
    # dissipation and O(dt) relative, lifts the fitted order to 4.4 at these steps. A third-order scheme would give
    # 3.0 to 3.4.
    assert slope(steps, drifts) == pytest.approx(4.2, abs=0.4)
    assert drifts[-1] < 1e-6


def test_the_tendency_without_forcing_and_damping_is_orthogonal_to_the_state() -> None:
    x = Lorenz96().initial(4, seed=3, dtype=torch.float64)
    rate = (x * Lorenz96(forcing=0.0, damping=0.0).tendency(x)).sum(-1)
    # 40 products of three numbers below 12 sum to zero: rounding 40 x 12^3 x 2^-53 < 1e-11.
    assert rate.abs().max() < 1e-11


def test_energy_balance_of_the_attractor() -> None:
    model = Lorenz96()
    x = model.spin_up(model.initial(100, seed=4))
    states = torch.stack(list(model.run(x, 200))).to(torch.float64)
    mean, square = states.mean(), states.square().mean()
    # Exactly (<x^2> - F <x>) T = -change of mean energy over T = 10 units; the energy of a state of 40 variables
    # (18.4 a variable, half the square) varies by 10 %, <x^2> / 2 over 100 members by 1 % = 0.1, a difference of two
    # by 0.13, over 10 units 0.013, and the balance of <x^2> / 2 is that of x^2 here: 5 standard errors, and as much
    # for dt.
    assert float(square - 8.0 * mean) == pytest.approx(0.0, abs=0.13)
    # The known climate: mean 2.34, standard deviation 3.64, within 2 %: 4000 variables, of which one in five is
    # independent of its neighbours, by ten independent times give a standard error of 3.64 / sqrt(8000) = 0.04.
    assert float(mean) == pytest.approx(2.34, abs=0.12)
    assert float(states.std()) == pytest.approx(3.64, abs=0.12)


def test_small_errors_double_in_two_days() -> None:
    model = Lorenz96()
    x = model.spin_up(model.initial(100, seed=5, dtype=torch.float64))
    y = x + 1e-10 * model.initial(100, seed=6, dtype=torch.float64)
    start, end = model.spin_up(torch.stack([x, y]), 100), model.spin_up(torch.stack([x, y]), 200)
    growth = torch.log((end[0] - end[1]).norm(dim=-1) / (start[0] - start[1]).norm(dim=-1)) / 5.0
    # The leading Lyapunov exponent is 1.68 a unit (doubling in 0.41); over 5 units a member varies by 0.3, the mean
    # of 100 members by 0.03, and the growth is not yet that of the leading vector alone: within 0.15. The error stays
    # linear: 1e-10 x 8 sqrt(40) x e^(1.7 x 10) = 0.1, small against 3.6 sqrt(40).
    assert float(growth.mean()) == pytest.approx(1.68, abs=0.15)


def test_the_uniform_state_is_steady() -> None:
    x = torch.full((40,), 8.0)
    assert torch.equal(Lorenz96().step(x), x)  # (F - F) F - F + F is zero without rounding.


def test_a_seed_decides_and_the_batch_does_not() -> None:
    model = Lorenz96()
    many, few = model.initial(7, seed=9), model.initial(3, seed=9)
    assert torch.equal(many[:3], few)
    assert not torch.equal(many, model.initial(7, seed=10))
    together = torch.stack(list(model.run(many, 20)))
    alone = torch.stack(list(model.run(few[2], 20)))
    # Elementwise operations; fused multiply-add may differ between vector and remainder lanes: 20 steps x 4 stages of
    # 2^-23 x 12, grown by e^1.7 in one unit, < 1e-3.
    torch.testing.assert_close(together[:, 2], alone, rtol=0, atol=1e-3)


def test_states_fit_their_grid_and_channels() -> None:
    model = Lorenz96(d=12)
    assert model.grid().shape == (1, 12)
    assert [c.name for c in model.channels] == ["x0"]
    assert model.initial(3, seed=0).shape == (3, 12)


def test_parameters_are_checked() -> None:
    with pytest.raises(ConfigError, match="four variables"):
        Lorenz96(d=3)
    with pytest.raises(ConfigError, match="time step"):
        Lorenz96(dt=0.0)
