"""A queue of trainings and measurements in pieces of a few minutes; see `benchmarks/gpu.sh`."""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
import worlds
from posterior import Posterior, posterior_rows

from stormda.assimilation.storm_prior import StormPrior
from stormda.nn.flops import forward_flops
from stormda.nn.frame import Frame, measure_frame, untrained
from stormda.nn.measure import Probe, measure
from stormda.nn.weights import load_weights, save_weights
from stormda.store.publish import write_json
from stormda.training.checkpoint import join_checkpoint, split_checkpoint
from stormda.training.copying import far_copy
from stormda.training.cost import Step, measure_step
from stormda.training.data import Sampler, statistics
from stormda.training.job import Job, train_storm
from stormda.training.loop import Settings
from stormda.training.loss import NoiseDensity
from stormda.training.pair import compare
from stormda.training.rollout import Rollout

PART = 15 << 20  # bytes of a part of a checkpoint
RESERVE = 45.0  # s for the last validation and for writing
BEGUN = monotonic()
WEIGHTS = Path(__file__).parent.parent / "stormda" / "weights"


@dataclass(frozen=True)
class Training:
    """A training; `world` makes its data on a device, `background` are EOFs of the background error covariance."""

    world: Callable[[Path, str], worlds.World]
    network: Mapping[str, int]
    settings: Settings
    frames: int = 1
    modes: int = 100
    background: int = 0
    batch: int = 32
    rollout: Rollout = Rollout()
    seed: int = 0
    members: int = 8


@dataclass(frozen=True)
class Measurement:
    """Costs of attention layers, each in a process of its own."""

    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class Passes:
    """Passes of whole networks, each in a process of its own: forward, with gradients, or steps of training."""

    rows: tuple[tuple[str, Step], ...]


@dataclass(frozen=True)
class Pair:
    """Two trainings of the queue, compared on the validation data of the first (`stormda.training.pair`)."""

    model: str
    reference: str
    samples: int = 256


@dataclass(frozen=True)
class Copy:
    """A training on the far copy (`stormda.training.copying`)."""

    network: Mapping[str, int]
    side: int = 32
    pairs: int = 16
    steps: int = 10_000


def network(patch: int, width: int, blocks: int, latents: int, heads: int = 4) -> dict[str, int]:
    return {"patch": patch, "width": width, "blocks": blocks, "heads": heads, "latents": latents}


def settings(steps: int, rate: float = 1e-3, decay: float = 1e-2) -> Settings:
    return Settings(steps, learning_rate=rate, weight_decay=decay, warm_up=500, average=0.9995,
                    validate_every=1000, checkpoint_every=600)  # fmt: skip


def from_file(name: str) -> Callable[[Path, str], worlds.World]:
    return lambda carry, device: worlds.exported(carry / "data" / f"{name}.npz", device)


def lorenz(dimension: int) -> Training:
    late = Rollout(steps=2, after=0.6)
    return Training(lambda _, device: worlds.lorenz96(device, dimension=dimension), network(1, 64, 4, 16),
                    settings(40_000), modes=40, background=40, batch=128, rollout=late)  # fmt: skip


def attention_pair(
    name: str, points: int, trajectories: int, width: int = 128, **cut: int
) -> dict[str, Training | Pair]:
    """A network with tiles and with softmax over everything, else alike, and their comparison.

    128 wide it has 2.2 M parameters, and what a sitting leaves is below 64 MiB; 256 wide it is that of preset 10M.
    """
    size = network(2, width, 6, 64)

    def world(_: Path, device: str) -> worlds.World:
        return worlds.sqg(device, points=points, trajectories=trajectories)

    one = Training(world, size | cut, settings(8_000), modes=64, batch=16, members=0)
    trainings = {f"{name}-tiles": one, f"{name}-softmax": replace(one, network=size)}
    return {**trainings, f"{name}-pair": Pair(f"{name}-tiles", f"{name}-softmax")}


def copies() -> dict[str, Copy]:
    """Tiles that see 36 of 1024 tokens and cannot reach half the domain, with latents and without; softmax."""
    size = {"width": 128, "blocks": 3, "heads": 4, "latents": 64}
    cut = {"tile": 4, "halo": 1}
    kinds = {"tiles": size | cut, "softmax": size | {"latents": 0}, "tiles-alone": size | cut | {"latents": 0}}
    return {f"copy-{name}": Copy(size) for name, size in kinds.items()}


def attention() -> Measurement:
    size = {"width": 256, "heads": 4, "latents": 64, "tile": 8, "halo": 4}  # preset 10M
    rows = [
        Probe(kind, direction, 4**k, **size, device="cuda", dtype=dtype)
        for dtype in ("float32", "bfloat16")
        for direction in ("forward", "backward")
        for k in (6, 7, 8, 9)
        for kind in ("storm", "softmax")
        if kind == "storm" or k < 9
    ]
    return Measurement(tuple(rows))


def passes() -> Passes:
    """Tokens a second and share of the matrix rate of two sizes, and the longest context that fits, doubling."""
    sizes = {"10M": (256, 6, 4, 64), "200M": (1024, 8, 16, 128)}
    rows: list[tuple[str, Step]] = []
    for name, (width, blocks, heads, latents) in sizes.items():
        size = {"patch": 2, "width": width, "blocks": blocks, "heads": heads, "latents": latents, "tile": 8, "halo": 4}
        globe = Frame((721, 1440), 6, 2, **size, device="cuda", dtype="bfloat16")
        rows += [(f"{name} forward", Step(globe)), (f"{name} backward", Step(replace(globe, direction="backward")))]
        rows.append((f"{name} training", Step(replace(globe, shape=(361, 720), direction="backward"), batch=4)))
    small = rows[0][1].frame
    for rows_of_points in (2048, 4096, 8192, 16384):
        long = replace(small, shape=(rows_of_points, 2 * rows_of_points), channels=1, frames=1)
        rows += [
            ("10M longest, forward", Step(long)),
            ("10M longest, with gradients", Step(replace(long, direction="backward"))),
        ]
    return Passes(tuple(rows))


Piece = Training | Measurement | Passes | Posterior | Pair | Copy

QUEUE: dict[str, Piece] = {
    "sqg-demo": Training(lambda _, device: worlds.sqg(device), network(4, 64, 4, 32), settings(40_000), modes=64,
                         rollout=Rollout(steps=2, after=0.6)),
    "lorenz96-40": lorenz(40),
    "lorenz96-100": lorenz(100),
    "north-america": Training(from_file("north-america"), network(3, 64, 3, 32), settings(12_000, 2e-3, 0.1), frames=5,
                              background=200, rollout=Rollout(steps=2, after=0.6)),
    "europe": Training(from_file("europe"), network(1, 64, 3, 32), settings(12_000, 2e-3, 0.1)),
    "attention": attention(),
    "passes": passes(),
    "posterior": Posterior(),
    **copies(),
    **attention_pair("sqg64", 64, 64, tile=4, halo=2),
    **attention_pair("sqg128", 128, 16, tile=8, halo=4),
    "sqg": Training(lambda _, device: worlds.sqg(device, trajectories=128), network(2, 128, 6, 64),
                    settings(100_000), modes=200, background=200, rollout=Rollout(steps=2, after=0.7)),
    # Sittings of these leave 150 MiB and more: for a machine whose disk stays.
    **attention_pair("sqg64-10M", 64, 64, 256, tile=4, halo=2),
    **attention_pair("sqg128-10M", 128, 16, 256, tile=8, halo=4),
}  # fmt: skip


def train(
    name: str, piece: Training, carry: Path, out: Path, work: Path, device: str, stop: Callable[[], bool]
) -> bool:
    """Train or go on; leaves weights, log, card and, if it is not finished, the parts of a checkpoint."""
    world = piece.world(carry, device)
    print(f"{name}: {world.data}; ready after {monotonic() - BEGUN:.0f} s", flush=True)
    job = Job(world.train, world.validation, world.normaliser, world.grid, piece.network, piece.settings,
              frames=piece.frames, modes=piece.modes, background_modes=piece.background, batch=piece.batch,
              seed=piece.seed, members=piece.members, rollout=piece.rollout)  # fmt: skip
    join_checkpoint(carry / name, work / "checkpoint.pt")
    command = shlex.join(["benchmarks/gpu.sh", name])
    card = {"name": name, "command": command, "data": world.data, "torch": torch.__version__, "device": _called(device)}
    done = train_storm(job, work, card=card, device=device, progress=_talk(name), stop=stop)
    if done.outcome.curve:
        save_weights(out / "weights.safetensors", done.weights)
        (out / "log.csv").write_bytes((work / "log.csv").read_bytes())
    facts = dict(done.weights.card) | {"parameters": done.parameters, "finished": done.outcome.finished}
    write_json(out / "card.json", facts)
    for old in out.glob("checkpoint.pt.*"):
        old.unlink()
    if not done.outcome.finished:
        split_checkpoint(work / "checkpoint.pt", out, PART)
    best = ", ".join(f"{k} {v:.4g}" for k, v in done.outcome.best.items() if " at " not in k)
    print(f"{name}: {done.outcome.step} steps, {done.outcome.seconds / 60:.1f} min; {best}", flush=True)
    return done.outcome.finished


def measurements(name: str, piece: Measurement, carry: Path, out: Path, device: str, stop: Callable[[], bool]) -> bool:
    """Measure what is not measured yet."""
    known = carry / name / "card.json"
    rows: list[dict[str, Any]] = json.loads(known.read_text())["rows"] if known.exists() else []
    have = [{k: v for k, v in row.items() if k not in ("seconds", "peak_mib", "failed")} for row in rows]
    for probe in piece.probes:
        wanted = asdict(replace(probe, device=device))
        if wanted in have or stop():
            continue
        command = [sys.executable, __file__, "--probe", json.dumps(wanted)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        last = ended.stderr.strip().splitlines()[-1:]
        rows.append(wanted | (json.loads(ended.stdout) if ended.returncode == 0 else {"failed": "".join(last)}))
        print(json.dumps(rows[-1]), flush=True)
    finished = len(rows) >= len(piece.probes)
    write_json(out / "card.json", {"name": name, "device": _called(device), "finished": finished, "rows": rows})
    return finished


def all_passes(name: str, piece: Passes, carry: Path, out: Path, device: str, stop: Callable[[], bool]) -> bool:
    """Measure what is not measured yet; what does not fit into memory is a row that failed."""
    known = carry / name / "card.json"
    rows: list[dict[str, Any]] = json.loads(known.read_text())["rows"] if known.exists() else []
    for what, step in piece.rows[len(rows) :]:
        if stop():
            break
        wanted = asdict(replace(step, frame=replace(step.frame, device=device)))
        command = [sys.executable, __file__, "--pass", json.dumps({"what": what} | wanted)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        last = ended.stderr.strip().splitlines()[-1:]
        found = json.loads(ended.stdout) if ended.returncode == 0 else {"failed": "".join(last)}
        rows.append({"what": what} | wanted | found)
        print(json.dumps(rows[-1]), flush=True)
    finished = len(rows) >= len(piece.rows)
    write_json(out / "card.json", {"name": name, "device": _called(device), "finished": finished, "rows": rows})
    return finished


def one_pass(asked: dict[str, Any]) -> dict[str, float]:
    """A row of `all_passes`, in this process."""
    what, frame = asked.pop("what"), asked.pop("frame")
    step = Step(Frame(**frame | {"shape": tuple(frame["shape"])}), **asked)
    cost = measure_step(step) if what.endswith("training") else measure_frame(step.frame)
    with torch.device("meta"):
        network = untrained(step.frame)
    factor = 3 * step.batch if what.endswith("training") else 3 if step.frame.direction == "backward" else 1
    tokens = network.patches.count[0] * network.patches.count[1] * (step.batch if what.endswith("training") else 1)
    share = factor * forward_flops(network) / cost.seconds / cost.matrix_rate
    return asdict(cost) | {"tokens": tokens, "tokens_per_second": tokens / cost.seconds, "share": share}


def posterior(name: str, piece: Posterior, carry: Path, out: Path, device: str, stop: Callable[[], bool]) -> bool:
    """Draw what is not drawn yet."""
    known = carry / name / "card.json"
    rows: list[dict[str, Any]] = json.loads(known.read_text())["rows"] if known.exists() else []
    rows += posterior_rows(piece, WEIGHTS, device, len(rows), stop)
    finished = len(rows) == 5
    write_json(out / "card.json", {"name": name, "device": _called(device), "finished": finished, "rows": rows})
    print(json.dumps(rows), flush=True)
    return finished


def comparison(name: str, piece: Pair, carry: Path, out: Path, device: str) -> bool:
    """Compare two trainings that are finished; leaves a card."""
    if missing := [part for part in (piece.model, piece.reference) if not _finished(carry / part)]:
        print(f"{name}: not before {', '.join(missing)}", flush=True)
        return False
    trained = QUEUE[piece.model]
    assert isinstance(trained, Training)
    return _compared(name, piece, trained, carry, out, device)


def _compared(name: str, piece: Pair, trained: Training, carry: Path, out: Path, device: str) -> bool:
    paths = [carry / part / "weights.safetensors" for part in (piece.model, piece.reference)]
    first, second = (StormPrior.load(path).model.to(device) for path in paths)
    world, weights = trained.world(carry, device), load_weights(paths[0])
    climate = statistics(world.train.to(device), world.grid.plane and world.grid.periodic[1])
    sampler = Sampler(world.validation.to(device), climate, trained.frames, 0.0, (0.01, 1.0), False)
    area = torch.as_tensor(world.grid.weights, dtype=torch.float32, device=device)
    found = compare(first, second, sampler, NoiseDensity(*weights.sigma), area, samples=piece.samples)
    facts = {"name": name, "device": _called(device), "data": world.data, "finished": True}
    write_json(out / "card.json", facts | {"model": piece.model, "reference": piece.reference} | asdict(found))
    loss, reach = found.losses[0], ", ".join(f"{row.share:.2f} at {row.sigma:g}" for row in found.reach)
    print(f"{name}: loss {loss.ratio:.4f} +- {loss.error:.4f} of {piece.reference}, far reach {reach}", flush=True)
    return True


def copying(name: str, piece: Copy, carry: Path, out: Path, work: Path, device: str, stop: Callable[[], bool]) -> bool:
    """Train on the far copy or go on; leaves a card, the log and, if it is not finished, the parts of a checkpoint."""
    join_checkpoint(carry / name, work / "checkpoint.pt")
    done = far_copy(piece.side, piece.network, work, pairs=piece.pairs, steps=piece.steps, device=device,
                    progress=_talk(name), stop=stop)  # fmt: skip
    for old in out.glob("checkpoint.pt.*"):
        old.unlink()
    if not done.finished:
        split_checkpoint(work / "checkpoint.pt", out, PART)
    facts = {"name": name, "device": _called(device), "finished": done.finished, "seconds": round(done.seconds, 1)}
    write_json(out / "card.json", facts | asdict(piece) | {"curve": done.curve})
    print(f"{name}: {done.step} steps, error {done.curve[-1]['loss'] if done.curve else 1.0:.4f}", flush=True)
    return done.finished


def smoke(folder: Path) -> None:
    """Every piece of the queue on tiny worlds for a few steps, each in two sittings; needs no GPU and no files."""
    rng = np.random.default_rng(0)
    times = (np.datetime64("2001-01-01", "s") + np.arange(60) * np.timedelta64(6, "h")).astype(np.int64)
    facts = {"data": "noise", "channels": ["t2m"], "periodic": [False, False], "plane": False, "step_seconds": 21600}
    arrays = {"climatology_coefficients": np.zeros((1, 1, 4, 6)), "anomaly_sd": np.ones(1), "harmonics": np.zeros(2)}
    arrays |= {"latitude": np.linspace(60, 30, 4), "longitude": np.arange(6.0)}
    arrays |= {
        f"{part}_fields": rng.normal(size=(60, 1, 4, 6)).astype("f4").cumsum(0) for part in ("train", "validation")
    }
    arrays |= {"train_times": times, "validation_times": times + 10**8}
    (folder / "data").mkdir(parents=True)
    small: dict[str, Callable[[Path, str], worlds.World]] = {
        "sqg": lambda _, device: worlds.sqg(device, points=16, trajectories=2, steps=30, days=0.25),
        "lorenz": lambda _, device: worlds.lorenz96(device, dimension=8, trajectories=2, steps=30),
    }
    for name, piece in QUEUE.items():
        if name.startswith(("sqg128", "sqg64-10M")):  # on a tiny world the same as sqg64
            continue
        if isinstance(piece, Measurement):
            probes = tuple(replace(p, tokens=256, device="cpu", dtype="float32", repeats=1) for p in piece.probes[:2])
            one_by_one = _calls(1)
            assert not measurements(name, Measurement(probes), folder, _made(folder / name), "cpu", one_by_one)
            assert measurements(name, Measurement(probes), folder, _made(folder / name), "cpu", lambda: False)
            continue
        if isinstance(piece, Passes):
            size = {"patch": 2, "width": 16, "blocks": 1, "heads": 2, "latents": 2, "tile": 2, "halo": 1}
            tiny = Step(Frame((8, 16), 1, 1, **size), steps=1)
            two = Passes((("tiny forward", tiny), ("tiny training", tiny)))
            assert not all_passes(name, two, folder, _made(folder / name), "cpu", _calls(1))
            assert all_passes(name, two, folder, _made(folder / name), "cpu", lambda: False)
            assert all(row["share"] > 0 for row in json.loads((folder / name / "card.json").read_text())["rows"])
            continue
        if isinstance(piece, Posterior):
            least = Posterior("lorenz96-40", few=2, many=4, batch=2, steps=2, observations=20, size=(16, 1, 2, 4))
            assert not posterior(name, least, folder, _made(folder / name), "cpu", _calls(2))
            assert posterior(name, least, folder, _made(folder / name), "cpu", lambda: False)
            rows = json.loads((folder / name / "card.json").read_text())["rows"]
            assert [row.get("apart_max") for row in rows[:2]] == [0.0, 0.0] and len(rows[-1]["costliest"]) == 3
            continue
        if isinstance(piece, Pair):
            trained = QUEUE[piece.model]
            assert isinstance(trained, Training)
            brief = replace(piece, samples=2)
            assert _compared(name, brief, replace(trained, world=small["sqg"]), folder, _made(folder / name), "cpu")
            continue
        if isinstance(piece, Copy):
            size = network(1, 16, 1, min(4, piece.network["latents"]))
            del size["patch"]
            least = replace(piece, side=8, pairs=1, steps=4, network=size | _cut(piece.network))
            for steps, ends in ((2, False), (4, True)):
                work = _made(folder / "work" / name / str(steps))
                stop = _calls(steps if ends else steps - 1)
                assert copying(name, least, folder, _made(folder / name), work, "cpu", stop) == ends
            continue
        np.savez(folder / "data" / f"{name}.npz", facts=json.dumps(facts), **arrays)
        world = next((small[key] for key in small if name.startswith(key)), piece.world)
        few = replace(piece.settings, steps=4, warm_up=1, validate_every=2)
        tiny = replace(
            piece,
            world=world,
            network=network(4, 16, 1, 4) | _cut(piece.network),
            settings=few,
            batch=4,
            modes=4,
            background=4 if piece.background else 0,
            members=0,
        )
        for steps, ends in ((2, False), (4, True)):
            work = _made(folder / "work" / name / str(steps))  # a fresh one: only what was carried is there
            stop = _calls(steps if ends else steps - 1)
            assert (folder / name / "checkpoint.pt.00").exists() == ends  # what the first sitting left
            assert train(name, tiny, folder, _made(folder / name), work, "cpu", stop) == ends
        assert sorted(p.name for p in (folder / name).iterdir()) == ["card.json", "log.csv", "weights.safetensors"]


def _cut(size: Mapping[str, int]) -> dict[str, int]:
    """Tiles for a grid of a few tokens, if the network has any."""
    return {"tile": 2, "halo": 0} if "tile" in size else {}


def _calls(count: int) -> Callable[[], bool]:
    """False so many times, then true."""
    left = iter([False] * count)
    return lambda: next(left, True)


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _called(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


def _talk(name: str) -> Callable[[str, int, int], None]:
    last = [monotonic()]

    def progress(what: str, done: int, total: int) -> None:
        if monotonic() - last[0] > 30:
            last[0] = monotonic()
            print(f"{name}: {what}, {done} of {total}, {monotonic() - BEGUN:.0f} s", flush=True)

    return progress


def _finished(folder: Path) -> bool:
    card = folder / "card.json"
    return card.exists() and bool(json.loads(card.read_text())["finished"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description="Work through the queue; see gpu.sh.")
    parser.add_argument(
        "pieces", nargs="*", metavar="PIECE", help=f"of {', '.join(QUEUE)}; none: the first pending one"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="of this sitting")
    parser.add_argument("--carry", type=Path, default=Path(".carry"), help="what earlier sittings left, and data/")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "runs/gpu")), help="default: $OUT")
    parser.add_argument("--list", action="store_true", help="say what is pending")
    parser.add_argument("--smoke", type=Path, metavar="FOLDER", help="a few steps of everything on a CPU")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    parser.add_argument("--pass", dest="one_pass", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.probe:
        print(json.dumps(asdict(measure(Probe(**json.loads(given.probe))))))
        return
    if given.one_pass:
        print(json.dumps(one_pass(json.loads(given.one_pass))))
        return
    if given.smoke:
        smoke(given.smoke)
        return
    if unknown := set(given.pieces) - set(QUEUE):
        parser.error(f"no such piece: {', '.join(sorted(unknown))}")
    pending = [name for name in given.pieces or QUEUE if not _finished(given.carry / name)]
    print(f"pending: {', '.join(pending) or 'nothing'}", flush=True)
    if given.list:
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def stop() -> bool:
        return monotonic() - BEGUN > 60 * given.minutes - RESERVE

    for name in pending if given.pieces else pending[:1]:
        if stop():
            break
        piece, out = QUEUE[name], _made(given.out / name)
        if isinstance(piece, Measurement):
            measurements(name, piece, given.carry, out, device, stop)
        elif isinstance(piece, Passes):
            all_passes(name, piece, given.carry, out, device, stop)
        elif isinstance(piece, Posterior):
            posterior(name, piece, given.carry, out, device, stop)
        elif isinstance(piece, Pair):
            comparison(name, piece, given.carry, out, device)
        elif isinstance(piece, Copy):
            copying(name, piece, given.carry, out, _made(Path("build/gpu") / name), device, stop)
        else:
            train(name, piece, given.carry, out, _made(Path("build/gpu") / name), device, stop)


if __name__ == "__main__":
    main()
