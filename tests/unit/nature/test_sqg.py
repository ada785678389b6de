"""SQG: inversion, advection, invariants, linear terms by their closed forms, determinism, stability."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.errors import ConfigError, StormdaError
from stormda.nature.sqg import DAY, SIX_HOURS, SQG

F64 = torch.float64
FREE = SQG(points=32, relaxation=math.inf, diffusion_time=math.inf)  # advection alone


def plane_wave(model: SQG, k: int, m: int) -> Tensor:
    """cos(k x + m y) on the grid of the model [y, x], float64."""
    angle = torch.arange(model.points, dtype=F64) * 2 * math.pi / model.points
    return torch.cos(m * (angle[:, None] + math.pi / model.points) + k * angle)


def plane_wave_sine(model: SQG, k: int, m: int) -> Tensor:
    """sin(k x + m y) on the grid of the model [y, x], float64."""
    angle = torch.arange(model.points, dtype=F64) * 2 * math.pi / model.points
    return torch.sin(m * (angle[:, None] + math.pi / model.points) + k * angle)


def spectral(field: Tensor, axis: int, length: float = 20e6) -> Tensor:
    """The derivative along an axis, by numpy's complex transform."""
    n = field.shape[axis]
    wave = 2j * math.pi / length * np.fft.fftfreq(n, 1 / n)
    shape = [1, 1]
    shape[axis] = n
    return torch.from_numpy(np.fft.ifft(np.fft.fft(field.numpy(), axis=axis) * wave.reshape(shape), axis=axis).real)


def turbulent(model: SQG, members: int = 1, noise: float = 5.0) -> Tensor:
    """The jet with strong noise: nothing in it is steady."""
    return model.initial(members, seed=1, noise=noise, dtype=F64)


def gap(a: Tensor, b: Tensor) -> float:
    """The largest difference relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max())


def test_inversion_of_a_single_wave_with_different_amplitudes() -> None:
    model = SQG(points=32)
    wave = plane_wave(model, 3, 2)
    u, v = model.velocities(torch.stack([2.0 * wave, 5.0 * wave]))
    # psi at the boundaries for q = q0, q1 times the wave, as in Blumen (1978); K = 2 pi sqrt(13)/L; u = -psi_y, v =
    # psi_x.
    total = 2 * math.pi * math.sqrt(13.0) / 20e6
    m, (q0, q1) = total * 1e-2 * 10e3 / 1e-4, (2.0 / model.kelvin, 5.0 / model.kelvin)
    psi = torch.tensor([q1 / math.sinh(m) - q0 / math.tanh(m), q1 / math.tanh(m) - q0 / math.sinh(m)], dtype=F64)
    psi = (psi * 10e3 / m)[:, None, None]
    quarter = 2 * math.pi / 20e6 * plane_wave_sine(model, 3, 2)
    # Rounding of two transforms of 1024 numbers: a few 10^-15 relative; 10^-12 leaves room.
    assert gap(u, 2 * psi * quarter) < 1e-12
    assert gap(v, -3 * psi * quarter) < 1e-12


def test_equilibrium_jet_has_its_wind() -> None:
    model = SQG(points=32, jet=30.0)
    u, v = model.velocities(model.equilibrium(F64))
    y = (torch.arange(32, dtype=F64) + 0.5) * 2 * math.pi / 32
    # -+ 15 sin(l y); the error is rounding, as above.
    assert gap(u[1, :, 0], -15 * torch.sin(y)) < 1e-12
    assert gap(u[0, :, 0], 15 * torch.sin(y)) < 1e-12
    assert v.abs().max() < 1e-12
    assert int(model.equilibrium()[0, :, 0].argmax()) in (15, 16)  # warmest in the middle


def test_thermal_wind_and_zero_potential_vorticity_inside() -> None:
    model = SQG(points=32)
    theta, h = turbulent(model)[0], 20.0
    (u_b, _, t_b), (u, v, t), (u_a, _, t_a) = (model.interior(theta, 4000.0 + d) for d in (-h, 0.0, h))
    t_y = spectral(t, axis=-2)
    zeta = spectral(v, axis=-1) - spectral(u, axis=-2)
    # Central differences: m h/H is at most 2 pi 14/20 x 0.002 = 0.009, error (m h/H)^2 / 6 = 1.3e-5 relative.
    assert gap((u_a - u_b) / (2 * h), -t_y / model.kelvin) < 5e-5
    assert gap((t_a - t_b) / (2 * h) / model.kelvin * (1e-4 / 1e-2) ** 2, -zeta) < 5e-5


def test_interior_meets_the_boundaries() -> None:
    model = SQG(points=32)
    theta = turbulent(model, 2)
    for level, height in enumerate((0.0, model.height)):
        assert gap(model.interior(theta, height)[2], theta[:, level]) < 1e-12  # rounding


def test_advection_is_minus_wind_times_gradient() -> None:
    model = dataclasses.replace(FREE, points=32, dt=1.0)
    mixed = 8 * plane_wave(model, 1, 2) + 5 * plane_wave(model, 3, -1) - 4 * plane_wave(model, 0, 4)
    theta = torch.stack([mixed, mixed.roll(5, -1) + 3 * plane_wave(model, 2, 2)])
    u, v = model.velocities(theta)
    # Waves up to 4 make products up to 8 < 11: nothing is cut off, and the product form equals the flux form.
    by_hand = torch.stack([-(u[i] * spectral(theta[i], -1) + v[i] * spectral(theta[i], -2)) for i in range(2)])
    # A difference over 1 s: dt/2 x rate of change, and winds of 30 m/s with 8 waves a box change at 7e-5 a second:
    # 4e-5.
    assert gap(model.step(theta) - theta, by_hand) < 2e-4


def test_advection_conserves_energy_and_variance_to_the_order_of_the_scheme() -> None:
    theta = turbulent(FREE)
    steps, drifts = [21600.0, 10800.0, 5400.0], []
    for dt in steps:
        model = dataclasses.replace(FREE, dt=dt)
        after = model.advance(theta, 2 * DAY)
        energy = (model.energy(after) / model.energy(theta) - 1).abs().max()
        variance = (after.square().mean((-2, -1)) / theta.square().mean((-2, -1)) - 1).abs().max()
        drifts.append([float(energy), float(variance)])
    orders = np.polyfit(np.log(steps), np.log(drifts), 1)[0]
    # Any invariant drifts by O(dt^4) in a fixed time, by O(dt^5) where fourth-order terms are small (they vanish for
    # linear oscillations). Aliasing or an unbalanced truncation would drift at a rate that does not depend on dt:
    # order 0.
    assert (orders > 3.7).all()
    # A wave of frequency w loses (w dt)^6 / 72 of its variance a step: 20 m/s x 10 waves a box x 5400 s is 0.34, over
    # 32 steps 7e-4, of the share of the shortest waves, some per cent: 3e-5; three times as much at most.
    assert max(drifts[-1]) < 1e-4


def test_energy_is_the_kinetic_and_potential_energy_of_the_layer() -> None:
    model = SQG(points=32)
    theta = turbulent(model)[0]
    nodes, weights = np.polynomial.legendre.leggauss(8)
    total = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        u, v, t = model.interior(theta, float(5e3 * (1 + node)))
        potential = (1e-4 / 1e-2 * t / model.kelvin) ** 2
        total += weight / 2 * float((u**2 + v**2 + potential).mean()) / 2
    # Eight Gauss points are exact for polynomials of degree 15; for exp(2 m z/H), m up to 4.4 where theta has any
    # amplitude to speak of, the remainder is (8.8/2)^16/16! x 1e-3 or less: 1e-5, times the small share of those
    # waves.
    assert float(model.energy(theta)) == pytest.approx(total, rel=1e-5)


def test_hyperdiffusion_of_one_wave() -> None:
    model = dataclasses.replace(FREE, diffusion_time=DAY / 3, dt=1800.0)
    wave = torch.stack([plane_wave(model, 6, -8)] * 2)  # K = 10 = the cutoff; psi follows theta: no advection
    # e-folding time of eight hours at the cutoff: exp(-1); the integrating factor is exact, the rest is rounding.
    assert gap(model.advance(wave, 8 * 3600.0), math.exp(-1.0) * wave) < 1e-12
    half = torch.stack([plane_wave(model, 3, -4)] * 2)  # K = 5: 2^-8 of the rate
    assert gap(model.advance(half, DAY), math.exp(-3.0 / 256) * half) < 1e-12


def test_relaxation_to_the_jet() -> None:
    model = SQG(points=32, diffusion_time=math.inf, dt=3600.0)
    target = model.equilibrium(F64)
    after = model.advance(torch.zeros_like(target), 10 * DAY)
    # Zonal flow does not advect itself. The scheme's error is (dt/tau)^5/120 x 240 steps x exp(-1) < 1e-12 relative.
    assert gap(after, (1 - math.exp(-1.0)) * target) < 1e-11


def test_friction_spins_down_one_wave() -> None:
    model = dataclasses.replace(FREE, friction=1e-2, dt=900.0)
    wave = torch.stack([plane_wave(model, 3, 4)] * 2)
    total = 2 * math.pi * 5 / 20e6
    m = total * 1e6
    rate = 1e-2 * total**2 * 10e3 / m * math.tanh(m / 2)  # q_t = -r K^2 (H/m) tanh(m/2) q on both boundaries
    # The scheme's error over n = 96 steps: n (rate dt)^5 / 120 < 1e-12.
    assert gap(model.advance(wave, DAY), math.exp(-rate * DAY) * wave) < 1e-10


def test_the_time_step_is_of_fourth_order_with_all_terms() -> None:
    base = SQG(points=32, friction=1e-2)
    theta = base.advance(turbulent(base), DAY)
    steps = [10800.0, 5400.0, 2700.0]
    exact = dataclasses.replace(base, dt=450.0).advance(theta, DAY / 2)  # (2700/450)^4 = 1300 times more exact
    errors = [float((dataclasses.replace(base, dt=dt).advance(theta, DAY / 2) - exact).norm()) for dt in steps]
    # The next term of the error is of relative size dt: fitted orders within 0.4 of 4 at these steps.
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(4.0, abs=0.4)


def test_a_shift_along_the_jet_commutes_with_time() -> None:
    model = SQG(points=32)
    theta = turbulent(model)
    # Rounding 1e-15 relative, grown over a day by a factor of order one.
    assert gap(model.advance(theta.roll(7, -1), DAY), model.advance(theta, DAY).roll(7, -1)) < 1e-11


def test_a_seed_decides_and_the_batch_does_not() -> None:
    model = SQG(points=32)
    many, few = model.initial(5, seed=3), model.initial(2, seed=3)
    # The same random numbers; transforms of other batch sizes may round otherwise, by some 1e-7 of 30 K in float32.
    torch.testing.assert_close(many[:2], few, rtol=0, atol=1e-4)
    assert not torch.allclose(many, model.initial(5, seed=4))
    assert torch.equal(model.advance(many, DAY), model.advance(many, DAY))
    # Rounding of 6e-8 x 30 K in each of 384 tendencies adds up to 4e-5 K as a random walk and grows by less than e in
    # a day: a tail of five.
    torch.testing.assert_close(model.advance(many, DAY)[3], model.advance(many[3], DAY), rtol=0, atol=5e-4)


def test_single_precision_follows_double() -> None:
    model = SQG(points=32)
    theta = model.initial(1, seed=5, noise=5.0, dtype=F64)
    # Rounding as in the test of the batch, from the start on: 5e-4 twice.
    assert (model.advance(theta.float(), DAY) - model.advance(theta, DAY)).abs().max() < 1e-3


def test_ten_days_stay_finite_and_bounded() -> None:
    model = SQG()
    states = list(model.run(model.initial(1, seed=6), 40))
    assert len(states) == 40
    assert all(bool(torch.isfinite(x).all()) for x in states)
    # Advection moves theta and makes no extremes, relaxation pulls to +-29.4 K, and the noise of 1 K adds 5 K at
    # most; a truncated series overshoots at fronts by the Gibbs share, less than a fifth.
    assert max(float(x.abs().max()) for x in states) < (29.4 + 5.0) * 1.2


def test_run_is_repeated_advance() -> None:
    model = SQG(points=32)
    theta = model.initial(1, seed=7)
    last = list(model.run(theta, 2, every=3600.0))[-1]
    # A transform back and forth between the intervals: rounding of 6e-8 x 30 K.
    torch.testing.assert_close(last, model.advance(theta, 7200.0), rtol=0, atol=1e-4)


def test_gradients_pass_through_a_step() -> None:
    model = SQG(points=16)
    theta = turbulent(model)
    direction = turbulent(model, 2)[1:]
    out, tangent = torch.autograd.functional.jvp(model.step, theta, direction)
    cotangent = out.detach() ** 2
    _, adjoint = torch.autograd.functional.vjp(model.step, theta, cotangent)
    # The same number two ways: rounding in float64.
    assert float((tangent * cotangent).sum()) == pytest.approx(float((adjoint * direction).sum()), rel=1e-9)


def test_a_first_use_without_gradients_does_not_forbid_them() -> None:
    model = SQG(points=18)
    with torch.inference_mode():
        model.step(model.initial(1, seed=0))
    theta = model.initial(1, seed=0).requires_grad_()
    model.step(theta).sum().backward()
    assert theta.grad is not None


def test_states_fit_their_grid_and_channels() -> None:
    model = SQG(points=48)
    grid = model.grid()
    assert grid.plane and grid.periodic == (True, True) and grid.shape == (48, 48)
    assert grid.latitude[0] == pytest.approx(-88.125) and grid.longitude[1] == 7.5
    assert [c.name for c in model.channels] == ["theta0", "theta1"]
    assert model.initial(3, seed=0).shape == (3, 2, 48, 48)
    assert model.cutoff == 15  # 16 would alias: 16 + 16 - 48 = -16


def test_bad_parameters_and_a_blow_up_are_told() -> None:
    with pytest.raises(ConfigError, match="points"):
        SQG(points=4)
    with pytest.raises(ConfigError, match="relaxation"):
        SQG(relaxation=0.0)
    with pytest.raises(ConfigError, match="whole number"):
        SQG(points=16).advance(SQG(points=16).initial(1, 0), 1000.0)
    wild = SQG(points=32, dt=DAY)
    with pytest.raises(StormdaError, match="not finite"):
        wild.advance(turbulent(wild), 60 * DAY)


@pytest.mark.soak
def test_spectrum_of_theta_is_between_five_thirds_and_that_of_fronts() -> None:
    coarse, fine = SQG(), SQG(points=256, dt=600.0)
    theta = coarse.spin_up(coarse.initial(1, seed=8), days=60.0)
    padded = torch.nn.functional.interpolate(theta, scale_factor=4, mode="bicubic")
    power = torch.zeros(86, dtype=F64)
    index = torch.fft.fftfreq(256, 1 / 256)
    shell = torch.sqrt(index[:, None] ** 2 + index**2).round().long().clamp(max=85)
    for day, state in enumerate(fine.run(fine.advance(padded, 10 * DAY), 20, every=DAY)):
        spectrum = torch.fft.fft2(state[0].to(F64)).abs().square().mean(0)
        power.scatter_add_(0, shell.flatten(), spectrum.flatten())
        assert bool(torch.isfinite(state).all()), day
    waves = np.arange(8, 41)  # between the Rossby radius (wave 3) and hyperdiffusion (wave 85), clear of both
    slope = np.polyfit(np.log(waves), np.log(power[8:41].numpy()), 1)[0]
    # Theory says -5/3, a field of sharp fronts -2, a passive tracer -1, an interior cascade -3. Ten-day means of this
    # run are -1.91 to -2.00, steeper than -5/3 by more than their scatter of 0.05. Bounds: two scatters beyond -2, and
    # well before -1.
    assert -2.1 < slope < -1.5


def test_six_hours_are_a_whole_number_of_steps() -> None:
    assert SIX_HOURS / SQG().dt == 24
