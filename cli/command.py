"""A command is a function; what most of them take is written once, here.

    @command
    def verify(*, setup: Setup, times: Times, method: options.Method = None, console: Console) -> None: ...

A parameter of one of these kinds stands for several words of the command line, the arguments of its constructor; the
function is called with the object that is made of them.

    Setup      [key.sub=value ...] --config              which configuration
    Times      --cycle --from --to                       which analyses
    Console    --json --verbose --quiet --log-format     how to talk
"""

__all__ = ["Setup", "Times", "command"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .console import Console

if TYPE_CHECKING:
    import numpy as np

    from stormda.config import Config


@dataclass(frozen=True)
class Setup:
    """Where the configuration comes from."""

    overrides: options.Overrides = None
    file: options.ConfigFile = Path("config.yaml")

    def load(
        self, chosen: Mapping[str, object] | None = None, base: dict[str, Any] | None = None, several: bool = False
    ) -> "Config":
        """Read it, tell the console where its run folder is, and refuse to work on it as one of several processes.

        Args:
            chosen: what options stand for, by key; None is an option that was not given. They come after the overrides.
            base: the tree to start from in place of the file.
            several: do not refuse: the work is divided, and the first process alone talks.
        """
        from stormda.config import load
        from stormda.pipeline.ranks import number, one_process

        if not several:
            one_process()
        elif number():
            Console.current().follow()
        texts = [f"{key}={value}" for key, value in (chosen or {}).items() if value is not None]
        config = load(None if base else self.file, [*(self.overrides or ()), *texts], base)
        Console.current().run = config.run
        return config


@dataclass(frozen=True)
class Times:
    """Which analysis times are meant."""

    cycle: options.Cycle = None
    first: options.From = None
    last: options.To = None

    def every(self, step: "np.timedelta64") -> "list[np.datetime64]":
        """Those named, or all from `first` to `last`, both included, a step apart; raises ConfigError."""
        from stormda.errors import ConfigError
        from stormda.time import parse_time

        if bool(self.first) != bool(self.last) or (self.cycle and self.first):
            raise ConfigError("give --cycle, or both --from and --to", hint="--from 2019-02-17T00Z --to 2019-02-18T12Z")
        if self.first and self.last:
            start, end = parse_time(self.first), parse_time(self.last)
            if end < start:
                raise ConfigError(f"--to {self.last} is before --from {self.first}")
            return [start + k * step for k in range(int((end - start) // step) + 1)]
        return [parse_time(cycle) for cycle in self.cycle or ()]


_KINDS: tuple[Callable[..., Any], ...] = (Setup, Times, Console)


def command(work: Callable[..., None]) -> Callable[..., None]:
    """`work` as typer is to see it: in the place of each parameter of a kind above, the words that it stands for."""
    own = signature(work).parameters
    words = {
        name: list(signature(p.annotation).parameters.values()) for name, p in own.items() if p.annotation in _KINDS
    }

    @wraps(work)
    def run(**given: Any) -> None:
        for name, parts in words.items():
            given[name] = own[name].annotation(**{part.name: given.pop(part.name) for part in parts})
        work(**given)

    seen = [part for name, p in own.items() for part in words.get(name, [p])]
    keyword = [part.replace(kind=Parameter.KEYWORD_ONLY) for part in seen]
    run.__signature__ = Signature(keyword)  # type: ignore[attr-defined]
    return run
