"""The training loop: minimise an objective, average the weights, keep the best, survive being killed.

    AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101), linear warm-up then half a cosine to zero,
    over steps or over minutes; gradients clipped by norm; exponential moving average of the weights (EMA), which is
    what is validated and kept.

The loop knows neither weather nor files of weather: an `objective` is a function of the model and of the number of the
step, which decides every random number in it. A step is therefore a pure function of the weights and its number, and a
run that was killed and goes on from its checkpoint gives the same curve as one that was not.

Several ranks (`stormda.training.team`) train together: the objective of each is its part of a sum. They agree on the
time and on when to stop; the first writes.
"""

__all__ = ["Objective", "Outcome", "Settings", "Validate", "fit"]

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from stormda.errors import StormdaError
from stormda.store.publish import write_text
from stormda.training.checkpoint import read_checkpoint, write_checkpoint
from stormda.training.team import ALONE, Team
from stormda.types import Progress, silent

Objective = Callable[[nn.Module, int], Tensor]
"""(model, number of the step) -> loss to minimise, a scalar; of several ranks, what this one adds to it."""

Validate = Callable[[nn.Module], Mapping[str, float]]
"""model -> scores, among them `loss`, which decides which weights are kept."""


@dataclass(frozen=True)
class Settings:
    """How to train; see `TrainConfig` for the meaning of each.

    Args:
        patience: validations without progress after which training ends; None: never.
        checkpoint_every: seconds.
        compile: call the model through torch.compile.
    """

    steps: int
    minutes: float | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: int = 200
    clip: float = 1.0
    average: float = 0.999
    validate_every: int = 250
    checkpoint_every: float = 60.0
    patience: int | None = None
    compile: bool = False


@dataclass
class Outcome:
    """What came out: the model holds the best averaged weights.

    Args:
        finished: false if `stop` asked for an end; a later call goes on.
        step: steps done.
        seconds: of training, over all calls.
        best: scores of the kept weights.
        curve: one row a validation: step, seconds, learning rate, training loss, scores.
    """

    finished: bool
    step: int
    seconds: float
    best: dict[str, float]
    curve: list[dict[str, float]] = field(default_factory=list)


class _State:
    """Everything that a checkpoint holds."""

    def __init__(self, model: nn.Module, settings: Settings, team: Team) -> None:
        self.model, self.team = model, team
        called = team.spread(model)
        self.called: Any = torch.compile(called) if settings.compile else called
        self.averaged = _parameters(model)
        self.best = _parameters(model)
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(
            groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
        )
        self.step, self.seconds, self.loss, self.stale = 0, 0.0, math.nan, 0
        self.scores: dict[str, float] = {}
        self.curve: list[dict[str, float]] = []

    _PLAIN = ("step", "seconds", "loss", "stale", "scores", "curve")

    def pack(self) -> dict[str, Any]:
        packed: dict[str, Any] = {name: getattr(self, name) for name in self._PLAIN}
        tensors = {"model": self.model.state_dict(), "averaged": self.averaged, "best": self.best}
        packed |= {name: self.team.gather(held) for name, held in tensors.items()}
        optimiser = self.optimiser.state_dict()
        moments = {number: self.team.gather(held) for number, held in optimiser["state"].items()}
        return packed | {"optimiser": optimiser | {"state": moments}}

    def unpack(self, packed: Mapping[str, Any]) -> None:
        fill(self.model, packed["model"], self.team)
        parameters = dict(self.model.named_parameters())
        self.averaged = {name: self.team.part(t, parameters[name]) for name, t in packed["averaged"].items()}
        self.best = {name: self.team.part(t, parameters[name]) for name, t in packed["best"].items()}
        ordered = [p for group in self.optimiser.param_groups for p in group["params"]]
        moments = {
            number: {name: t if t.ndim == 0 else self.team.part(t, ordered[number]) for name, t in held.items()}
            for number, held in packed["optimiser"]["state"].items()
        }
        self.optimiser.load_state_dict(packed["optimiser"] | {"state": moments})
        for name in self._PLAIN:
            setattr(self, name, packed[name])


def fill(model: nn.Module, whole: Mapping[str, Tensor], team: Team = ALONE) -> None:
    """Load the state of a model, of which each rank takes its parts; raises RuntimeError where it does not fit."""
    like = model.state_dict()
    model.load_state_dict({name: team.part(t, like[name]) if name in like else t for name, t in whole.items()})


def fit(
    model: nn.Module,
    objective: Objective,
    validate: Validate,
    settings: Settings,
    folder: Path,
    *,
    job: str,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
    record: Callable[[Mapping[str, float]], None] = lambda row: None,
    team: Team = ALONE,
) -> Outcome:
    """Train, or go on training, and leave the best averaged weights in `model`.

    Args:
        model: its parameters are trained.
        objective, validate: see their types.
        settings: how.
        folder: for `checkpoint.pt` and `log.csv`.
        job: a fingerprint, `key: value` lines, of all that a checkpoint must agree with.
        progress: told about steps.
        stop: asked after each step; true, on any rank, ends the call with a checkpoint.
        record: given each new row of the curve, on the first rank.
        team: who trains together.

    Raises:
        StormdaError: the loss is not finite, or ranks go on from different steps.
        CheckpointError: the checkpoint in `folder` belongs to another job, or is damaged.
    """
    path, state, first = folder / "checkpoint.pt", _State(model, settings, team), team.number == 0
    if packed := read_checkpoint(path, job):
        state.unpack(packed)
    _agree_on_step(state, folder)
    start = saved = monotonic()
    before = state.seconds

    def save() -> None:
        nonlocal saved
        packed = state.pack()
        if first:
            write_checkpoint(path, packed, job)
        saved = monotonic()

    def check() -> None:
        _validate(state, validate, settings)
        if first:
            _write_log(folder / "log.csv", state.curve)
            record(state.curve[-1])

    interrupted = False
    while not (done := _done(state, settings)) and not interrupted:
        progress(
            "training" if math.isnan(state.loss) else f"training, loss {state.loss:.4f}", *_position(state, settings)
        )
        _step(state, objective, settings)
        now = monotonic()
        mine = [stop(), before + now - start if first else 0.0, first and now - saved > settings.checkpoint_every]
        asked, state.seconds, due = team.sum(torch.tensor(mine, dtype=torch.float64)).tolist()
        interrupted = asked > 0
        if state.step % settings.validate_every == 0 or _done(state, settings):
            check()
        if interrupted or due:
            save()
    if done and not state.curve:  # no steps at all
        check()
    save()
    _put(model, state.best)
    return Outcome(done or _done(state, settings), state.step, state.seconds, dict(state.scores), list(state.curve))


def _agree_on_step(state: _State, folder: Path) -> None:
    """Ranks that found different checkpoints would train different networks."""
    team, step = state.team, torch.tensor([state.step, state.step**2], dtype=torch.float64)
    mean, square = (team.sum(step) / team.count).tolist()
    if square > mean**2:
        raise StormdaError(
            f"the ranks go on from different steps, rank {team.number} from {state.step}",
            file=folder,
            hint="put the run's folder on a file system that all machines share",
        )


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    """A copy of what is trained."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def _put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set what is trained."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])


@contextmanager
def _averaged(state: _State) -> Iterator[None]:
    """The model with the averaged weights."""
    trained = _parameters(state.model)
    _put(state.model.eval(), state.averaged)
    try:
        yield
    finally:
        _put(state.model.train(), trained)


def _fraction(state: _State, settings: Settings) -> float:
    """How much of the training is done, 0..1: the larger of the shares of steps and of minutes."""
    share = state.step / settings.steps if settings.steps else 1.0
    return share if settings.minutes is None else max(share, state.seconds / (60 * settings.minutes))


def _done(state: _State, settings: Settings) -> bool:
    tired = settings.patience is not None and state.stale >= settings.patience
    return _fraction(state, settings) >= 1 or tired


def _position(state: _State, settings: Settings) -> tuple[int, int]:
    fraction = _fraction(state, settings)
    return state.step, settings.steps if fraction == 0 else max(state.step, round(state.step / fraction))


def _learning_rate(state: _State, settings: Settings) -> float:
    warm = min(1.0, (state.step + 1) / max(settings.warm_up, 1))
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, _fraction(state, settings))))


def _step(state: _State, objective: Objective, settings: Settings) -> None:
    rate = _learning_rate(state, settings)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.model.train()
    loss = objective(state.called, state.step)
    state.optimiser.zero_grad(set_to_none=True)
    # What comes back is the mean over ranks, here the gradient of the sum.
    (loss * state.team.count).backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    value = state.team.sum(loss.detach()).item()
    if not (math.isfinite(value) and math.isfinite(norm.item())):
        raise StormdaError(
            f"the training loss is not finite at step {state.step}",
            key="train.learning_rate",
            hint=f"lower train.learning_rate (now {settings.learning_rate:g}) or train.clip (now {settings.clip:g})",
        )
    state.optimiser.step()
    state.step += 1
    state.loss = value if math.isnan(state.loss) else 0.98 * state.loss + 0.02 * value
    decay = min(settings.average, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for name, now in state.model.named_parameters():
            state.averaged[name].lerp_(now, 1 - decay)


def _validate(state: _State, validate: Validate, settings: Settings) -> None:
    with torch.no_grad(), _averaged(state):
        scores = {name: float(value) for name, value in validate(state.model).items()}
    if not math.isfinite(scores["loss"]):
        raise StormdaError(
            "the validation loss is not finite", key="train.learning_rate", hint="lower train.learning_rate"
        )
    rate = _learning_rate(state, settings)
    state.curve.append({"step": state.step, "seconds": state.seconds, "rate": rate, "train": state.loss} | scores)
    if not state.scores or scores["loss"] < state.scores["loss"]:
        state.scores, state.stale = scores | {"step": state.step}, 0
        state.best = {name: value.clone() for name, value in state.averaged.items()}
    else:
        state.stale += 1


def _write_log(path: Path, curve: list[dict[str, float]]) -> None:
    """The whole log at once: after a crash it holds no step twice. A score that a row lacks is left empty."""
    names = list(dict.fromkeys(name for row in curve for name in row))
    lines = [",".join(f"{row[name]:.6g}" if name in row else "" for name in names) for row in curve]
    write_text(path, "\n".join([",".join(names), *lines]) + "\n")
