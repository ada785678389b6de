"""Lorenz-96 beside DAPPER, on the same truth and the same observations.

    python benchmarks/dapper_peer.py -c examples/lorenz96/d40.yaml --python DAPPER/bin/python --json out.json \
        twin.methods=[letkf] assimilate.ensemble=7 letkf.radius=14.6 letkf.inflation=1.04 twin.cycles=10500 ...

DAPPER (Nansen Center, https://github.com/nansencenter/DAPPER) lives in an environment of its own: `python -m venv
DAPPER; DAPPER/bin/pip install dapper==1.7.1`. The twin experiment of the configuration gives truth, observations and
the scores of our methods; this file then runs itself there, for `LETKF` and `EnKF` (its symmetric square root) with the
same members, inflation and localisation, and `iEnKS` with that inflation. Its taper of Gaspari and Cohn is zero 3.64
times `loc_rad` away, ours at `letkf.radius`. Our `letkf` with a radius that is beyond everything, such as 1e6, is
EnKF-Sqrt. Scores are means over cycles of the RMSE and of the root of the mean variance, as DAPPER has them.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

_SUPPORT = 3.64  # of DAPPER's taper, in units of its loc_rad


def main() -> None:
    """Both sides, and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--python", type=Path, help="of the environment with DAPPER")
    parser.add_argument("--peer", nargs="*", default=["LETKF"], choices=["LETKF", "EnKF", "iEnKS"])
    parser.add_argument("--inflation", nargs="*", type=float, help="of the peers; else that of letkf")
    parser.add_argument("--plain", action="store_true", help="DAPPER does not rotate its members at random")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", type=Path, help="in DAPPER's environment: the exported experiment")
    parser.add_argument("overrides", nargs="*", default=[])
    chosen = parser.parse_args()
    if chosen.inside is not None:
        _dapper(chosen.inside)
        return
    ours, facts, arrays = _stormda(chosen.config, chosen.overrides)
    rows = [{"method": f"stormda {name}", **_scores(*pair)} for name, pair in ours.items()]
    reference = next(iter(ours.values()))[0]
    for peer in chosen.peer:
        for inflation in chosen.inflation or [facts["inflation"]]:
            wanted = facts | {"peer": peer, "inflation": inflation, "rotate": not chosen.plain}
            rmse, spread = _elsewhere(chosen.python, wanted, arrays)
            row = {"method": f"DAPPER {peer}", "inflation": inflation, "rotate": not chosen.plain}
            rows.append(row | _scores(rmse, spread) | {"ours / this": _ratio(reference, rmse)})
    for row in rows:
        print(row)
    if chosen.json:
        chosen.json.write_text(json.dumps({"experiment": facts, "rows": rows}, indent=1) + "\n")


def _stormda(path: Path, overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Series of RMSE and spread of our methods after the spin-up, facts, and truth and observations."""
    from stormda.config import load
    from stormda.pipeline.networks import network_of
    from stormda.pipeline.twin import twin
    from stormda.pipeline.worlds import simulated_archive, world_config, world_of

    config = world_config(load(path, overrides))
    spec = config.twin
    seed, archive = spec.seeds[0], simulated_archive(config, lambda *_: None)
    result = twin(config)
    series = json.loads(Path(result.files[0]).read_text())["series"]
    ours = {
        name: [np.sqrt(np.asarray(runs[0][key])[spec.spin_up :, 0]) for key in ("mse", "variance")]
        for name, runs in series.items()
    }
    world = world_of(config, seed)
    observe = network_of(config, archive.grid, archive.channels, seed)
    reports = [observe(k, x) for k, x in enumerate(world.values)]
    truth = np.asarray(world.values, dtype=np.float64).reshape(len(reports), -1)
    y = np.stack([r.y.numpy() for r in reports])
    if y.shape[1] != truth.shape[1]:
        raise SystemExit("every variable must be observed: twin.network.count is the dimension")
    letkf = config.letkf
    facts = {
        "dimension": truth.shape[1], "cycles": len(truth), "spin_up": spec.spin_up, "operator": spec.network.operator,
        "error": spec.network.error, "members": config.assimilate.ensemble, "inflation": letkf.inflation,
        "radius": letkf.radius or 16.0, "seed": seed,
    }  # fmt: skip
    return ours, facts, {"truth": truth, "y": y}


def _elsewhere(python: Path, facts: dict[str, Any], arrays: dict[str, Any]) -> tuple[Any, Any]:
    """This file in DAPPER's environment."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.savez(place / "experiment.npz", facts=json.dumps(facts), **arrays)
        command = [str(python), __file__, "--inside", str(place)]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with np.load(place / "scores.npz") as file:
            return file["rmse"], file["spread"]


def _dapper(place: Path) -> None:
    """Truth and observations of a file through one of DAPPER's methods."""
    import dapper.da_methods as methods
    import dapper.mods as modelling
    from dapper.mods.Lorenz96 import dstep_dx, step
    from dapper.tools.localization import nd_Id_localization
    from dapper.tools.seeding import set_seed

    with np.load(place / "experiment.npz") as file:
        facts, truth, y = json.loads(str(file["facts"])), file["truth"], file["y"]
    count, n = len(truth) - 1, facts["dimension"]
    set_seed(facts["seed"] + 1)
    arctan = facts["operator"] == "arctan"
    observation = modelling.partial_Id_Obs(n, np.arange(n))
    if arctan:
        observation["model"] = np.arctan
        observation["linear"] = lambda x: np.diag(1 / (1 + x**2))
    observation["noise"] = modelling.GaussRV(C=facts["error"] ** 2, M=n)
    observation["localizer"] = nd_Id_localization((n,), (2,))
    model = modelling.HiddenMarkovModel(
        {"M": n, "model": step, "linear": dstep_dx, "noise": 0},
        observation,
        modelling.Chronology(0.05, dko=1, Ko=count - 1, BurnIn=0.0),
        modelling.GaussRV(mu=truth[0], C=1.0, M=n),
    )
    common = {"N": facts["members"], "infl": facts["inflation"], "rot": facts["rotate"]}
    method = {
        "LETKF": lambda: methods.LETKF(loc_rad=facts["radius"] / _SUPPORT, **common),
        "EnKF": lambda: methods.EnKF(upd_a="Sqrt", **common),
        "iEnKS": lambda: methods.iEnKS(upd_a="Sqrt", Lag=1, nIter=10, wtol=1e-5, **common),
    }[facts["peer"]]()
    method.assimilate(model, truth, y[1:])
    error, spread = method.stats.err.rms, method.stats.spread.rms
    keep = slice(facts["spin_up"] - 1, None)  # the first of our cycles is DAPPER's initial time
    np.savez(place / "scores.npz", rmse=error.a[keep], spread=spread.a[keep])


def _scores(rmse: Any, spread: Any) -> dict[str, Any]:
    low, high = _interval(np.asarray(rmse)[:, None], lambda m: float(m[0]))
    return {"rmse": float(np.mean(rmse)), "95 %": [low, high], "spread": float(np.mean(spread)), "cycles": len(rmse)}


def _ratio(ours: Any, theirs: Any) -> dict[str, float]:
    pair = np.stack([np.asarray(ours), np.asarray(theirs)], axis=1)
    low, high = _interval(pair, lambda m: float(m[0] / m[1]))
    return {"value": float(pair[:, 0].mean() / pair[:, 1].mean()), "low": low, "high": high}


def _interval(values: Any, statistic: Any, block: int = 100) -> tuple[float, float]:
    """95 %, from a bootstrap of blocks of cycles."""
    blocks = values[: len(values) // block * block].reshape(-1, block, values.shape[1]).mean(axis=1)
    random = np.random.default_rng(0)
    drawn = [statistic(blocks[random.integers(len(blocks), size=len(blocks))].mean(axis=0)) for _ in range(1000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
