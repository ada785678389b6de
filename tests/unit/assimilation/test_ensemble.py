"""A member is a function of its number: not of the batch it is drawn in, nor of how many there are."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stormda.assimilation.ensemble import draw, noise
from stormda.diffusion.noise import karras
from stormda.diffusion.sample.ancestral import ancestral
from stormda.diffusion.sample.dpm2m import dpm2m
from stormda.diffusion.sample.heun import heun
from stormda.diffusion.sample.langevin import Langevin, Sampler
from stormda.errors import StormdaError
from stormda.types import Denoise

SHAPE = (2, 3, 5)
SIGMAS = karras(0.05, 20.0, 6)


def denoiser() -> Denoise:
    mix = torch.randn(30, 30, generator=torch.Generator().manual_seed(0)) / 10
    return lambda x, sigma: (x.flatten(1) @ mix / (1 + sigma**2)).reshape(x.shape)


def members(numbers: range | list[int], batch: int, seed: int = 1) -> Tensor:
    return draw(dpm2m, denoiser, SHAPE, SIGMAS, numbers, seed=seed, stream=2, batch=batch)


def test_noise_is_bit_identical_in_any_company() -> None:
    together = noise(1, 2, range(7), SHAPE, torch.float32)
    assert torch.equal(noise(1, 2, [5], SHAPE, torch.float32)[0], together[5])
    assert torch.equal(noise(1, 2, [6, 0], SHAPE, torch.float32), together[[6, 0]])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(noise(1, 3, [0], SHAPE, torch.float32)[0], together[0])
    assert not torch.equal(noise(2, 2, [0], SHAPE, torch.float32)[0], together[0])


def test_noise_is_standard_normal_and_uncorrelated() -> None:
    n = noise(0, 9, range(400), (1, 5, 10), torch.float64).flatten(1).numpy()
    # 20,000 numbers: mean and variance within 4 standard errors, sqrt(1/20000) and sqrt(2/20000).
    assert abs(n.mean()) < 4 / np.sqrt(n.size)
    assert abs(n.var() - 1) < 4 * np.sqrt(2 / n.size)
    # 1,225 correlations of 400 pairs, standard error 0.05: all below 4.5 of them with probability 0.99.
    correlation = np.corrcoef(n.T) - np.eye(50)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(400)


@pytest.mark.parametrize("count", [4, 5, 7, 8])
def test_members_are_bit_identical_whatever_their_number(count: int) -> None:
    assert torch.equal(members(range(count), batch=4), members(range(12), batch=4)[:count])


def test_members_agree_between_batch_sizes_to_rounding() -> None:
    # float32 sums of 30 products at 6 levels, whose order depends on the batch: 1e-7 sqrt(180) of values up to 3.
    np.testing.assert_allclose(members(range(6), batch=2), members(range(6), batch=6), atol=1e-5)
    np.testing.assert_allclose(members([4, 1], batch=32), members(range(6), batch=2)[[4, 1]], atol=1e-5)


def test_each_batch_gets_a_denoiser_of_its_own() -> None:
    made = []

    def make() -> Denoise:
        made.append(1)
        return denoiser()

    told: list[tuple[int, int]] = []
    x = draw(
        dpm2m,
        make,
        SHAPE,
        SIGMAS,
        range(5),
        seed=1,
        stream=2,
        batch=2,
        progress=lambda _, done, of: told.append((done, of)),
    )
    assert x.shape == (5, *SHAPE)
    assert len(made) == 3
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(("sampler", "langevin"), [(ancestral, Langevin()), (dpm2m, Langevin(2)), (heun, Langevin(1))])
def test_the_noise_of_every_step_is_the_members_own(sampler: Sampler, langevin: Langevin) -> None:
    def drawn(numbers: range | list[int]) -> Tensor:
        return draw(sampler, denoiser, SHAPE, SIGMAS, numbers, seed=1, stream=2, batch=4, langevin=langevin)

    many = drawn(range(11))
    assert torch.equal(drawn(range(6)), many[:6])
    assert torch.equal(drawn([9, 3, 0, 7, 1]), many[[9, 3, 0, 7, 1]])
    assert not torch.equal(many[0], draw(sampler, denoiser, SHAPE, SIGMAS, [0], seed=1, stream=3, batch=4)[0])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "numpy"],
)
def test_where_memory_runs_out_batches_shrink_and_say_so(
    error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sizes = []

    def make() -> Denoise:
        plain = denoiser()

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            if sigma > 19:
                sizes.append(len(x))
            if len(x) > 3 and sigma < 1:  # in the middle of a batch
                raise error
            return plain(x, sigma)

        return denoise

    told: list[int] = []
    x = draw(
        dpm2m, make, SHAPE, SIGMAS, range(10), seed=1, stream=2, batch=9, progress=lambda _, done, of: told.append(done)
    )
    assert sizes == [9, 5, 3, 3, 3, 3]
    assert told == [0, 0, 0, 3, 6, 9, 10]
    assert torch.equal(x, members(range(10), batch=3))  # as if it had been asked for
    assert [r.getMessage() for r in caplog.records] == [
        "9 members at once do not fit into memory: 5 from here on (assimilate.batch=5 saves the attempt)",
        "5 members at once do not fit into memory: 3 from here on (assimilate.batch=3 saves the attempt)",
    ]


def test_members_that_are_there_stay_when_memory_runs_out_later() -> None:
    batches = []

    def make() -> Denoise:
        batches.append(1)
        if len(batches) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return denoiser()

    x = draw(dpm2m, make, SHAPE, SIGMAS, range(8), seed=1, stream=2, batch=4)
    assert len(batches) == 4
    assert torch.equal(x[:4], members(range(8), batch=4)[:4])
    assert torch.equal(x[4:], members(range(8), batch=2)[4:])


def test_one_member_that_does_not_fit_and_other_errors_are_errors() -> None:
    def broken(error: Exception) -> Denoise:
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            raise error

        return denoise

    with pytest.raises(StormdaError, match="memory does not do for one member"):
        draw(dpm2m, lambda: broken(MemoryError()), SHAPE, SIGMAS, range(4), seed=1, stream=2, batch=4)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        wrong = RuntimeError("shapes do not fit")
        draw(dpm2m, lambda: broken(wrong), SHAPE, SIGMAS, range(4), seed=1, stream=2, batch=4)


def test_pairs_have_opposite_noise_in_any_company() -> None:
    together = noise(1, 2, range(6), SHAPE, torch.float32, pairs=True)
    assert torch.equal(together[1::2], -together[::2])
    assert torch.equal(noise(1, 2, [5, 2], SHAPE, torch.float32, pairs=True), together[[5, 2]])
    assert not torch.equal(together[0], together[2])


@pytest.mark.parametrize("sampler", [dpm2m, ancestral])
def test_the_mean_of_pairs_has_no_sampling_error_where_all_is_linear(sampler: Sampler) -> None:
    """An affine denoiser of mean 1.5 and variance 4: every draw is an affine function of its noise."""

    def wiener() -> Denoise:
        return lambda x, sigma: 1.5 + 4 / (4 + sigma**2) * (x - 1.5)

    def drawn(pairs: bool) -> Tensor:
        return draw(
            sampler, wiener, SHAPE, SIGMAS, range(8), seed=1, stream=2, batch=4, dtype=torch.float64, pairs=pairs
        )

    # The first noise level is 20, so what starts around 0 and not around 1.5 is short of it by 2 / 20 at most.
    assert float((drawn(True).mean(dim=0) - 1.5).abs().max()) < 0.15
    assert float((drawn(False).mean(dim=0) - 1.5).abs().max()) > 0.5  # 30 means of 8: sd 0.7
