"""Windows in a twin experiment: scores by the number of later analyses, beside a filter that they do not touch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stormda.config import Config, load
from stormda.pipeline import twin_window
from stormda.pipeline.twin import twin
from stormda.pipeline.twin_window import compare_windows


def configured(folder: Path, **window: int) -> Config:
    tree = {
        "run_dir": str(folder),
        "channels": ["x0"],
        "archive": {"plane": True, "periodic": [False, True]},
        "twin": {
            "world": {"kind": "lorenz96", "dimension": 12},
            "train_steps": 300, "cycles": 16, "spin_up": 6, "methods": ["kf", "oi"], "network": {"count": 6},
        },
        "gaussian": {"modes": 12},
        "assimilate": {"ensemble": 12},
        "window": window,
    }  # fmt: skip
    return load(None, base=tree)


def test_later_analyses_are_scored_and_the_filter_stays(tmp_path: Path) -> None:
    plain = twin(configured(tmp_path))
    windowed = twin(configured(tmp_path, frames=3))
    for method in ("kf", "oi"):
        assert windowed.scores[method]["crps"] == plain.scores[method]["crps"]
    assert "window" not in plain.scores["kf"] and "window" not in windowed.scores["oi"]
    one, two = windowed.scores["kf"]["window"]
    assert (one["later"], two["later"]) == (1, 2)
    assert (one["scored"], two["scored"]) == (9, 8)  # the last ones have no later analyses
    assert two["crps_ratio"]["value"] < 0.97  # half of the variables are seen: the next ones say a lot
    names = [row[0] for row in windowed.table()[2]]
    assert names == ["kf", "kf + 1 later", "kf + 2 later", "oi"]


def test_scores_by_hand() -> None:
    window = np.full((4, 2, 3, 1), np.nan)
    window[1, 1] = [[4.0], [1.0], [1.0]]
    window[2, 1] = [[0.0], [3.0], [3.0]]
    filters = np.array([[9.0], [2.0], [6.0], [9.0]]), np.ones((4, 1))
    (found,) = compare_windows([window], [filters], 1, np.array([2.0]))
    # In units of 2: mean squares 1 and 0, CRPS 0.5 and 1.5, variances 1/4 and 3/4; the filter's CRPS 1 and 3.
    assert found["rmse"]["value"] == np.sqrt(0.5)
    assert found["crps"]["value"] == 1.0
    assert found["crps_ratio"]["value"] == 0.5
    assert found["spread_skill"] == 1.0


def test_a_frame_that_stays_has_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three frames the first stays as its analysis is: what is scored is the second, with one later time."""
    z = torch.zeros(4, 1, 1, 2)
    monkeypatch.setattr(twin_window, "redraw", lambda *_: [None, z, z])
    unused: Any = None
    scores = np.full((3, 3, 3, 1), np.nan)
    again = twin_window.Redrawer("storm", unused, unused, 3, 3, np.ones((1, 1)), scores)
    for k in range(3):
        again(k, unused, lambda x: x, np.ones((1, 1, 2)))
    assert np.isfinite(scores[..., 0, 0]).tolist() == [[False] * 3, [False, True, False], [True, False, False]]
    assert scores[1, 1, 0, 0] == 1.0
