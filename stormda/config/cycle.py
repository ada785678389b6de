"""How analyses are made by the clock: when a cycle is due, what happens where one fails, and what is kept.

A cycle at T is due at T + observations.after + cutoff. A source that lacks values then is waited for, as long as its
own `wait` says; after that its `policy` decides.
"""

__all__ = ["CycleConfig", "KeepConfig", "SlurmConfig"]

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from stormda.config.fields import Duration, Section, Time

_ZERO, _DAY = np.timedelta64(0, "s"), np.timedelta64(86400, "s")

Word = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f]+$")]
"""One argument of a command: it reaches the program as it is, no shell reads it."""


class KeepConfig(Section):
    """How long products stay, by the age that they have at the newest cycle; empty: for ever.

    What the next cycle needs always stays.
    """

    analyses: Duration | None = None
    forecasts: Duration | None = None
    observations: Duration | None = Field(None, description="values in the store; never the files that they came from")
    ledger: Duration | None = Field(400 * _DAY, description="lines of cycles that are over")

    @model_validator(mode="after")
    def _positive(self) -> "KeepConfig":
        for name in type(self).model_fields:
            span = getattr(self, name)
            if span is not None and span <= _ZERO:
                raise ValueError(f"`{name}` must be longer than nothing")
        return self


class SlurmConfig(Section):
    """What `stormda cycle run --submit` asks of Slurm; empty: as the site's defaults are."""

    script: str = Field("jobs/cpu.sbatch", description="below the folder of the configuration")
    account: Word | None = None
    partition: Word | None = None
    qos: Word | None = None
    time: Word | None = Field(None, description="wall time, such as 00:30:00")
    nodes: int | None = Field(None, ge=1)
    tasks: int | None = Field(None, ge=1, description="processes in all; an analysis is one")
    cpus: int | None = Field(None, ge=1, description="a task")
    gpus: int | None = Field(None, ge=1, description="a node")
    memory: Word | None = Field(None, description="a node, such as 16G")
    extra: tuple[Word, ...] = Field((), description="more options of sbatch, one a word: ['--constraint=x']")


class CycleConfig(Section):
    """Cycles by the clock: stormda cycle."""

    start: Time | None = Field(None, description="first cycle; empty: the newest that is due when it is first asked")
    end: Time | None = Field(None, description="last cycle; empty: it never ends")
    cutoff: Duration = Field(_ZERO, description="from the end of the window to when the cycle is due")
    late: Duration = Field(_ZERO, description="so long after that new observations make the cycle run again")
    lead: Duration = Field(_ZERO, description="of the forecast from each analysis; 0h: none")
    verify: bool = Field(True, description="score each analysis")
    on_reject: Literal["background", "fail"] = Field(
        "background", description="sampling failed, timed out or was rejected: publish the background, or exit 5"
    )
    on_missing: Literal["background", "fail"] = Field(
        "fail", description="a required source did not come in time: exit 3, or publish the background"
    )
    timeout: Duration | None = Field(None, description="of one stage; empty: none")
    attempts: int = Field(3, ge=1, description="times that a stage may fail or be cut before the cycle is given up")
    max_gap: Duration = Field(7 * _DAY, description="cycles missed in one go beyond which catch-up must be asked for")
    lease: Duration = Field(
        np.timedelta64(60, "s"), description="a lock on another host that shows no life for so long is stale"
    )
    launch: tuple[Word, ...] = Field((), description="command before `stormda assimilate`: [srun], [mpiexec, -n, '1']")
    metrics: str | None = Field(None, description="Prometheus text file, below run_dir unless absolute; empty: none")
    keep: KeepConfig = KeepConfig()
    slurm: SlurmConfig = SlurmConfig()

    @field_validator("cutoff", "late", "lead")
    @classmethod
    def _not_negative(cls, value: np.timedelta64) -> np.timedelta64:
        if value < _ZERO:
            raise ValueError("a span before the cycle is not possible here")
        return value

    @field_validator("timeout", "max_gap", "lease")
    @classmethod
    def _some(cls, value: np.timedelta64 | None) -> np.timedelta64 | None:
        if value is not None and value <= _ZERO:
            raise ValueError("it must be longer than nothing")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> "CycleConfig":
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError("the last cycle is before the first")
        return self
