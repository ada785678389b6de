"""`plan`: rates come back from the times that they made, work is what is counted by hand, and limits bind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stormda.config.machines import MACHINES
from stormda.config.presets import PRESETS
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.nn.flops import forward_flops
from stormda.nn.frame import Frame, untrained
from stormda.nn.storm import Storm
from stormda.pipeline.bench_scaling import scaling
from stormda.pipeline.fit import Measured, fit, read_measurements
from stormda.pipeline.plan import assumed, described, plan
from stormda.pipeline.plan_cost import Asked, Costs
from stormda.pipeline.work import GRADIENTS, Work, network_work

SMALL = Asked("nano", (32, 64), channels=2, frames=1, members=64, steps=4, products=2)
CLUSTER = MACHINES["h200-cluster"]


def test_rates_come_back_from_the_times_that_they_made() -> None:
    rates = (1e-11, 4e-11, 2e-10, 5e-10, 3e-4)
    works = [Work(1e9, 1e8, 1e7, 1e6, 10), Work(1e9, 9e8, 1e7, 2e6, 5), Work(2e8, 1e8, 9e7, 1e5, 40),
             Work(5e9, 1e9, 3e8, 9e6, 90), Work(1e8, 1e7, 1e6, 8e6, 70), Work(3e8, 4e8, 1e6, 3e5, 7)]  # fmt: skip
    rows = [Measured("", w, sum(a * b for a, b in zip(w.parts, rates, strict=True))) for w in works]
    found = fit(rows)
    assert found.inverse == pytest.approx(rates, rel=1e-6) and found.error[1] < 1e-6
    assert found.seconds(works[0] * 3) == pytest.approx(3 * rows[0].seconds)
    # A time that no rates explain shows in the error.
    assert fit([*rows, replace(rows[0], seconds=2 * rows[0].seconds)]).error[1] > 0.2
    with pytest.raises(InputError, match="1 measurements"):
        fit(rows[:1])


def test_work_is_that_of_the_network() -> None:
    frame = Frame((32, 64), 2, 1, 2, width=64, blocks=4, heads=4, latents=32, tile=8, halo=4)
    with torch.device("meta"):
        network = untrained(frame)
    work = network_work(network)
    assert work.flops == forward_flops(network)
    # 512 tokens in whole tiles of 64 queries and 256 keys, and 32 latents twice; two layers a block.
    assert work.attention == 4 * 2 * 4 * 64 * 512 * (256 + 2 * 32)
    assert work.weights == sum(p.numel() for p in network.parameters()) and work.calls == 6 * 4 + 4


def test_members_are_divided_and_then_cut() -> None:
    rows = plan(SMALL, CLUSTER, [1, 8, 64, 1024]).rows
    assert [(r.ensemble, r.tile, r.shard) for r in rows] == [(1, 1, 1), (8, 1, 1), (64, 1, 1), (64, 16, 1)]
    assert rows[0].efficiency == 1 and rows[0].communication == 0
    work = [r.compute for r in rows]
    assert work[0] == pytest.approx(8 * work[1]) == pytest.approx(64 * work[2])
    assert rows[3].efficiency < 0.2 and rows[3].calls == pytest.approx(rows[2].calls)  # however few tokens
    assert rows[3].bottleneck in ("calls", "communication")
    for row in rows:
        assert row.seconds == pytest.approx(row.compute + row.communication + row.storage)


def test_what_does_not_fit_is_cut_or_refused() -> None:
    globe = Asked("10B", (721, 1440), members=4)
    (row,) = plan(globe, CLUSTER, [256]).rows
    assert row.tile > 1 and row.memory_gib < CLUSTER.memory_gib
    trained = plan(Asked("10B", (181, 360), patch=4, task="training", batch=64), CLUSTER, [64])
    # Six numbers a weight: 193 GB, half of 131 GiB less two blocks for them.
    assert trained.rows[0].shard == 4
    with pytest.raises(ConfigError, match="do not hold this job") as error:
        plan(globe, CLUSTER, [1])
    assert error.value.key == "--ranks"


def test_what_parts_send_is_what_is_counted() -> None:
    """Two ranks, 2,048 tokens; rims of fields, which the plan leaves out, are some percent of so small a halo."""
    counted = scaling("nano", "32x64", kind="tile", ranks=[2], steps=1, rounds=2, patch=1).rows[0].sent
    asked = replace(SMALL, shape=(32, 64), channels=2, frames=1, patch=1)
    with torch.device("meta"):
        size: Any = PRESETS["nano"].arguments()
        network = untrained(Frame((32, 64), 2, 1, 1, **size))
    machine = MACHINES["laptop"]
    sent = Costs.of(asked, network, network_work(network), machine, assumed(machine)).sent(2)
    assert (sent.messages, sent.reductions) == (counted["halo"][0], counted["merge"][0])
    assert sent.merge == counted["merge"][1]
    assert sent.halo == pytest.approx(counted["halo"][1], rel=0.05)


def test_twenty_billion_tokens() -> None:
    asked = Asked("10M", (721, 1440), patch=3, window=177_000, members=1, products=0)
    result = plan(asked, CLUSTER, [4096, 32768])
    assert result.tokens == 241 * 480 * 177_000 > 20e9
    assert all(0 < row.efficiency <= 1.01 for row in result.rows)
    assert any("cut over ranks in time" in line for line in result.assumptions)
    assert any("63%" in line for line in result.assumptions)


def test_a_long_window_is_counted_from_short_ones() -> None:
    with torch.device("meta"):
        size: dict[str, Any] = dict(PRESETS["nano"].arguments())
        network = Storm(
            2, (16, 32), torch.ones(7, 16, 32), periodic=(False, True), frames=1, patch=2, window=40, **size
        )
    result = plan(replace(SMALL, shape=(16, 32), window=40), CLUSTER, [1])
    assert result.tflop * 1e12 == pytest.approx(forward_flops(network))


def frame_row(seconds: float, **changes: Any) -> dict[str, Any]:
    """What `stormda bench frame --json` prints, as far as it is read."""
    row = {"preset": "nano", "shape": [32, 64], "channels": 2, "frames": 1, "patch": 2, "blocks": 4, "tokens": 512}
    return row | {"direction": "forward", "device": "cpu", "seconds": seconds, "matrix_gflops": 50.0} | changes


def test_measurements_of_benches_are_read(tmp_path: Path) -> None:
    layer = {"layer": "one", "preset": "nano", "width": 64, "heads": 4, "latents": 32, "tile": 8, "halo": 4}
    rows = [{"kind": kind, "tokens": 4096, "seconds": 0.1, "direction": "forward", "extrapolated": kind == "softmax"}
            for kind in ("storm", "softmax")]  # fmt: skip
    (tmp_path / "attention.json").write_text(json.dumps(layer | {"device": "cpu", "rows": rows}))
    lines = [frame_row(0.1), frame_row(0.4, direction="backward")]
    (tmp_path / "frames.json").write_text("\n".join(json.dumps(line) for line in lines))
    training = frame_row(0.1) | {"batch": 3, "seconds_a_step": 2.0}
    (tmp_path / "train.json").write_text(json.dumps(training, indent=2))
    attention, forward, backward, step = read_measurements(sorted(tmp_path.glob("*.json")))
    assert "storm" in attention.what and forward.matrix_rate == 50e9
    assert attention.work.attention == 4 * 64 * 4096 * (256 + 2 * 32)
    assert backward.work.matrix == pytest.approx((1 + GRADIENTS) * forward.work.matrix)
    assert step.work.matrix == pytest.approx(3 * backward.work.matrix) and step.seconds == 2.0
    told = plan(SMALL, MACHINES["laptop"], [1], fit=[tmp_path / "frames.json"])
    assert "fitted to 2 measurements" in told.assumptions[0] and len(told.table()[1]) == len(told.table()[2][0])


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        read_measurements([tmp_path / "none.json"])
    (tmp_path / "other.json").write_text('{"device": "cpu"}')
    with pytest.raises(InputError, match="no measurements"):
        read_measurements([tmp_path / "other.json"])
    with pytest.raises(ConfigError) as error:
        described("cray")
    with pytest.raises(InputMissing, match="nofile.yaml"):
        described("nofile.yaml")
    assert error.value.key == "--machine" and "laptop" in str(error.value.hint)
    file = tmp_path / "mine.yaml"
    file.write_text("{memory_gib: 4, matrix_tflops: 1, memory_gbps: 10, node_gbps: 1, network_gbps: 1, wings: 2}")
    with pytest.raises(ConfigError) as error:
        described(str(file))
    assert error.value.key == "wings" and error.value.file == str(file)
    file.write_text("{memory_gib: 4, matrix_tflops: 1, memory_gbps: 10, node_gbps: 1, network_gbps: 1}")
    assert described(str(file)).ranks_per_node == 1
    for change, key in (({"preset": "huge"}, "--preset"), ({"members": 0}, "--ensemble"), ({"patch": 99}, "--patch")):
        with pytest.raises(ConfigError) as error:
            plan(replace(SMALL, **change), CLUSTER, [1])
        assert error.value.key == key
    with pytest.raises(ConfigError, match="laptop has 1 to 1 ranks"):
        plan(SMALL, MACHINES["laptop"], [2])
