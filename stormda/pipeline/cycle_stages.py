"""The stages of one cycle: how each is run, and how it is known that it was done already.

A stage that was cut is begun again, but not where its product was published before the kill and only the ledger did not
hear of it: the ledger keeps what lay in the product's place when the stage began, and a product is a new folder
or file. So nothing is made twice.
"""

__all__ = ["Work", "names"]

import json
import logging
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stormda import config as configuration
from stormda import errors
from stormda.config import Config
from stormda.errors import (
    AnalysisRejected,
    ConfigError,
    InputError,
    InputMissing,
    StormdaError,
)
from stormda.pipeline.deadline import OutOfTime
from stormda.pipeline.layout import analysis_folder, forecast_folder, verification_folder
from stormda.store.publish import write_text
from stormda.time import format_time, hours, stamp
from stormda.types import Progress, silent

log = logging.getLogger(__name__)

_ENDS: dict[int, type[StormdaError]] = {2: ConfigError, 3: InputMissing, 5: AnalysisRejected}
_PATIENCE = 30.0  # s that a launched command has to end in good order


def names(config: Config) -> tuple[str, ...]:
    """The stages of a cycle after its observations are there."""
    forecast = ("forecast",) if config.cycle.lead > np.timedelta64(0, "s") else ()
    window = ("window",) if config.window.frames > 1 else ()
    return ("assimilate", *forecast, *window, *(("verify",) if config.cycle.verify else ()))


@dataclass(eq=False)
class Work:
    """The stages of a run; keeps what is dear to build between cycles.

    Args:
        config: the run.
        progress: told about the work.
    """

    config: Config
    progress: Progress = silent
    _prior: tuple[object, Any] | None = field(default=None)

    def run(self, stage: str, cycle: np.datetime64, instead: str | None = None) -> str:
        """Run a stage; returns a note, empty where all is well. `instead`: see `assimilate`."""
        if stage == "assimilate":
            return self._assimilate(cycle, instead)
        if stage == "window":
            return self._window(cycle)
        return self._forecast(cycle) if stage == "forecast" else self._verify(cycle)

    def mark(self, stage: str, cycle: np.datetime64) -> str:
        """What lies where the stage publishes: differs after each publication, whatever the clock says."""
        return " ".join(_mark(path) for path in self._products(stage, cycle))

    def there(self, stage: str, cycle: np.datetime64, before: str = "") -> bool:
        """Whether the stage published all of its product since `before` was its mark; a window is drawn again."""
        marks = [_mark(path) for path in self._products(stage, cycle)]
        old = before.split(" ") if before else ["-"] * len(marks)
        return bool(marks) and all(mark not in ("-", *old) for mark in marks)

    def facts(self, cycle: np.datetime64) -> dict[str, Any]:
        """The provenance of the analysis, of its first split.

        Raises:
            InputError: it is damaged.
            InputMissing: it is not there.
        """
        path = self._products("assimilate", cycle)[0]
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputMissing("there is no analysis", file=path.parent) from None
        except (OSError, ValueError) as error:
            raise InputError(f"the provenance is damaged: {error}", file=path) from error
        return dict(facts)

    def set_aside(self, error: InputError) -> bool:
        """Hide an analysis that is damaged, so that a cycle begins as if it were not there; False: another error.

        One that can be read stays: it does not fit the configuration, and that is not its fault.
        """
        root = self.config.run / "analyses" / self.config.assimilate.method
        if error.file is None or root not in (file := Path(error.file)).parents:
            return False
        from stormda.store.analysis import read_analysis

        folder = root / file.relative_to(root).parts[0]
        with suppress(InputError, InputMissing):
            read_analysis(file)
            return False
        try:
            folder.rename(root / f".{folder.name}.damaged-{secrets.token_hex(4)}")
        except OSError:
            return False
        log.warning("a damaged analysis is set aside: %s", error)
        return True

    def _products(self, stage: str, cycle: np.datetime64) -> list[Path]:
        config, method = self.config, self.config.assimilate.method
        if stage == "window":
            return []  # It lies in the folders of other cycles, and not every cycle draws one.
        if stage == "verify":
            return [verification_folder(config, method) / stamp(cycle) / "scores.json"]
        if stage == "forecast":
            return [forecast_folder(config, method, cycle, config.quality.withhold.seeds[0])]
        seeds = config.quality.withhold.seeds
        return [analysis_folder(config, method, cycle, seed) / "provenance.json" for seed in seeds]

    def _assimilate(self, cycle: np.datetime64, instead: str | None) -> str:
        self._archive()
        if self.config.cycle.launch:
            self._possible()
            self._launch(cycle, instead)
            return ""
        from stormda.pipeline.assimilate import assimilate

        known = self._built()
        assimilate(self.config, [cycle], instead=instead, prior=known, windows=False, progress=self.progress)
        return ""

    def _possible(self) -> None:
        """Whether there can be a window, where one is asked for, before an analysis is drawn elsewhere."""
        if self.config.window.frames > 1:
            from stormda.pipeline.window import check_window

            check_window(self.config, self._built())

    def _window(self, cycle: np.datetime64) -> str:
        """The past drawn again with the analyses of all splits; what fails is a warning."""
        from stormda.pipeline.window import try_window

        if self.facts(cycle).get("product") == "background":
            return "no analysis, no window"
        prior = self._built()
        seeds = self.config.quality.withhold.seeds
        drawn = {time for seed in seeds for time in try_window(self.config, prior, cycle, seed)}
        return f"{len(drawn)} times drawn again"

    def _archive(self) -> None:
        """The archive, once, where the configuration says what it is made of."""
        path = self.config.below_run(self.config.archive.path)
        if self.config.archive.sources and not path.exists():
            from stormda.pipeline.ingest import ingest

            ingest(self.config, list(self.config.archive.sources), progress=self.progress)

    def _built(self) -> Any:
        """The prior; built again where the archive or the weights were replaced. None: each cycle is given its own."""
        from stormda.pipeline import build

        if self.config.assimilate.prior is not None:
            return None
        paths = [self.config.below_run(self.config.archive.path)]
        if self.config.assimilate.method == "storm":
            paths = [build.weights_path(self.config)]
        key = [_mark(path) for path in paths]
        if self._prior is None or self._prior[0] != key:
            self._prior = key, build.prior(self.config, self.config.assimilate.method)
        return self._prior[1]

    def _launch(self, cycle: np.datetime64, instead: str | None) -> None:
        """`stormda assimilate` behind the command of `cycle.launch`, every word an argument of its own."""
        file = self.config.run / "cycle" / "config.yaml"
        write_text(file, configuration.dump(self.config, file.parent))
        words = [*self.config.cycle.launch, sys.executable, "-m", "stormda", "assimilate", "-c", str(file)]
        words += ["--cycle", format_time(cycle), "--quiet", "--log-format", "json"]
        words += [] if instead is None else ["--instead", instead]
        words += ["window.frames=1"] if self.config.window.frames > 1 else []  # A stage of its own draws the window.
        code, said = _launched(words)
        if code:
            known = said.get("error", "")
            kind = getattr(errors, known, StormdaError) if known in errors.__all__ else _ENDS.get(code, StormdaError)
            what = f"{self.config.cycle.launch[0]} ended with exit code {code}: {said['message']}"
            raise kind(what, file=said.get("file"), key=said.get("key") or "cycle.launch", hint=said.get("hint"))

    def _forecast(self, cycle: np.datetime64) -> str:
        from stormda.pipeline.forecast import forecast

        forecast(self.config, cycle, lead=self.config.cycle.lead, progress=self.progress)
        return f"to {hours(self.config.cycle.lead):g} h"

    def _verify(self, cycle: np.datetime64) -> str:
        """Scores are worth a warning where they fail, not the cycle: truth comes later, or never."""
        from stormda.pipeline.cycle_report import write_report
        from stormda.pipeline.verify import verify

        try:
            verify(self.config, [cycle], progress=self.progress)
        except (InputError, InputMissing) as error:
            log.warning("%s is not verified: %s", format_time(cycle), error)
            if self.config.verify.report:
                write_report(self.config, cycle, self.config.quality.withhold.seeds[0])
            return f"not verified: {error.what}"
        return ""


def _mark(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        return "-"
    return f"{found.st_ino}.{found.st_mtime_ns}"


def _launched(words: Sequence[str]) -> tuple[int, dict[str, str]]:
    """Run a command in a process group of its own: its exit code, and why it failed. It does not outlive us."""
    try:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    except OSError as error:
        raise ConfigError(f"{words[0]} cannot be run: {error.strerror}", key="cycle.launch") from error
    try:
        _, talk = process.communicate()
    except BaseException:
        _stop(process)
        raise
    said = [_entry(line) for line in talk.strip().splitlines()]
    for entry in said:
        log.info("%s", entry["message"])
    fatal = [entry for entry in said if entry.get("level") == "fatal"]
    return process.returncode, (fatal or said or [{"message": "it said nothing"}])[-1]


def _entry(line: str) -> dict[str, str]:
    """A line of talk: facts where stormda wrote it, else a message."""
    with suppress(ValueError):
        if isinstance(entry := json.loads(line), dict) and "message" in entry:
            return entry
    return {"message": line}


def _stop(process: "subprocess.Popen[str]") -> None:
    """End a process group: in good order, or at once."""
    for number, seconds in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except ProcessLookupError:
            break
        except (subprocess.TimeoutExpired, OutOfTime):
            continue
        else:
            break
