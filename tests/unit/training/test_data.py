"""Training histories are analyses: their error is independent of them, and as large as the network is told."""

import numpy as np
import pytest
import torch

from stormda.errors import InputError
from stormda.training.data import Sampler, Series, _alike, statistics
from stormda.training.linear import linear_guess

STEP = np.timedelta64(6, "h")


def series(t: int = 1500, shape: tuple[int, int, int] = (1, 1, 24), seed: int = 0) -> Series:
    """Smooth periodic noise that remembers 0.9 of itself a step: red in space, Gaussian, standardised."""
    g = torch.Generator().manual_seed(seed)
    wave = torch.arange(shape[-1] // 2 + 1)
    amplitude = 1.0 / (1.0 + wave.float() ** 2)

    def noise() -> torch.Tensor:
        return torch.fft.irfft(torch.fft.rfft(torch.randn(shape, generator=g)) * amplitude, n=shape[-1])

    scale = float(torch.stack([noise() for _ in range(500)]).std())
    fields = [noise() / scale]
    for _ in range(t - 1):
        fields.append(0.9 * fields[-1] + (1 - 0.81) ** 0.5 * noise() / scale)
    times = np.datetime64("2001-01-01T00", "s") + STEP * np.arange(t)
    return Series(torch.stack(fields), times, STEP, np.arange(t))


def sampler(data: Series, **changes: object) -> Sampler:
    options = {"frames": 1, "dropout": 0.0, "error": (0.05, 1.0), "roll": False} | changes
    return Sampler(data, statistics(data, False), **options)  # type: ignore[arg-type]


def test_frames_are_found_by_time_and_gaps_are_known() -> None:
    whole = series(30)
    keep = np.r_[0:10, 12:30]
    data = Series(whole.fields[torch.as_tensor(keep)], whole.times[keep], STEP, np.array([5, 10, 11]))
    assert data.past(2).tolist() == [[3, 4], [-1, -1], [-1, 10]]  # times 5; 12 (10 and 11 are missing); 13


def test_statistics_of_a_first_order_process() -> None:
    data = series(4000)
    climate = statistics(data, roll=True)
    guess = linear_guess(data, climate, 2, 0, roll=True)
    # 4000 steps of memory 0.9 are 4000 (1 - 0.9)/(1 + 0.9) = 210 independent fields of about 4 independent waves: the
    # standard error of a variance is sqrt(2/840) = 0.05 and that of a correlation of 0.9 about 0.01; four of each.
    assert float(climate.variance.mean()) == pytest.approx(1.0, abs=0.2)
    assert guess.correlation.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.81, 0.9], abs=0.04)
    identity = climate.modes @ climate.modes.T
    torch.testing.assert_close(identity, torch.eye(len(identity)), atol=1e-5, rtol=0)  # float32, 24 terms


def test_errors_of_the_past_are_independent_of_it_and_of_the_size_that_is_told() -> None:
    data = series()
    draws = sampler(data)
    chosen = torch.arange(1, len(data.times))
    g = torch.Generator().manual_seed(1)
    batches = [draws.make(chosen, g) for _ in range(4)]
    mean, error = (torch.cat([getattr(b, name)[:, 0] for b in batches]) for name in ("mean", "error"))
    truth = data.fields[:-1].repeat(4, 1, 1, 1)
    half = len(chosen) // 2
    observed = torch.arange(len(truth)) % len(chosen) < half  # these saw pseudo-observations too
    for part in (observed, ~observed):
        departure = (truth - mean)[part]
        # About 3000 fields with some 4 independent waves: the standard error of a variance is sqrt(2/12000) = 0.013,
        # and the EOFs are estimated from 80 independent fields, which shifts the level by a few per cent.
        assert float((departure / error[part]).square().mean()) == pytest.approx(1.0, abs=0.12)
        slope = float((departure * mean[part]).sum() / mean[part].square().sum())
        assert abs(slope) < 0.03
    # Classical errors, truth plus noise, would have a slope of -P/(1 + P): here about -0.1.


def test_pseudo_observations_make_errors_differ_from_place_to_place() -> None:
    batch = sampler(series(), error=(0.5, 0.5)).draw(64, torch.Generator().manual_seed(0))
    ratio = batch.error.amax(dim=-1) / batch.error.amin(dim=-1)
    assert float(ratio[:32].median()) > 1.5 * float(ratio[32:].median())


def test_a_batch_is_a_function_of_its_generator() -> None:
    draws = sampler(series(200), frames=2, dropout=0.3, roll=True)
    a, b = (draws.draw(8, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("x", "mean", "error", "mask", "forcing"))


def test_dropout_takes_whole_pasts_and_single_frames() -> None:
    mask = sampler(series(200), frames=2, dropout=0.5).draw(4000, torch.Generator().manual_seed(0)).mask
    # P(a frame is there) = 0.5 x 0.5, P(both) = 0.5 x 0.25; the standard error of a share of 4000 is 0.007.
    assert float(mask[:, 1].float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(mask.all(dim=1).float().mean()) == pytest.approx(0.125, abs=0.03)
    assert float(sampler(series(200), dropout=0.5).draw(4000, torch.Generator().manual_seed(0)).mask.float().mean()) \
        == pytest.approx(0.5, abs=0.03)  # fmt: skip


def test_a_shift_moves_state_and_past_together() -> None:
    data = series(200)
    draws = sampler(data, error=(1e-4, 1e-4), roll=True)
    batch = draws.make(torch.arange(1, 101), torch.Generator().manual_seed(0))
    persistence = float((batch.x - batch.mean[:, 0]).square().mean())
    assert persistence < 0.5  # 0.2 for memory 0.9; 2 for states shifted apart
    assert float((batch.x - data.fields[1:101]).abs().max()) > 1.0


def test_bad_data_are_refused() -> None:
    data = series(30)
    with pytest.raises(InputError, match="not finite"):
        Series(data.fields * float("nan"), data.times, STEP, data.targets)
    with pytest.raises(InputError, match="no time"):
        Series(data.fields, data.times, STEP, np.array([], dtype=int))
    with pytest.raises(InputError, match="pairs"):
        linear_guess(
            Series(data.fields, data.times, np.timedelta64(5, "h"), data.targets), statistics(data, False), 1, 0
        )


def test_errors_of_successive_frames_are_alike_by_an_amount_of_their_own() -> None:
    """The correlation of a sample is uniform between 0 and 1."""
    g = torch.Generator().manual_seed(0)
    e = _alike(torch.randn(2000, 2, 400, generator=g), g)
    assert float(e.var()) == pytest.approx(1.0, abs=0.01)  # 1.6 million numbers: a standard error of 0.0014, or less
    found = (e[:, 0] * e[:, 1]).mean(dim=1)
    # Of one sample known to 1/sqrt(400) = 0.05, so that a few lie outside; of all: mean 1/2, variance 1/12 plus 1/400.
    assert float(found.min()) > -0.25 and float(found.max()) < 1.25
    assert float(found.mean()) == pytest.approx(0.5, abs=4 * 0.3 / 2000**0.5)
    assert float(found.var()) == pytest.approx(1 / 12 + 1 / 400, abs=0.01)  # 4 x sqrt(0.8/2000) x 1/12 = 0.007
