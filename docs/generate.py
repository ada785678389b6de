"""Write the pages of the documentation that the program itself knows: `python docs/generate.py` (`make docs`)."""

import os
import re
from pathlib import Path
from typing import Any

os.environ |= {"NO_COLOR": "1", "TERMINAL_WIDTH": "100"}

import typer.main  # noqa: E402
import typer.rich_utils  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from stormda.cli.failure import EXIT_CODES  # noqa: E402
from stormda.cli.main import app  # noqa: E402
from stormda.observations import QC  # noqa: E402

WARNING = "<!-- Written by docs/generate.py (`make docs`); do not edit. -->\n"
MEANINGS = {  # of exit codes; those of errors come from stormda/errors.py
    0: "done",
    1: "failed: a file that is not what it should be, a result that cannot be written, a fault of stormda",
    2: "wrong command line or configuration",
    3: "required input is missing or too late: a scheduler may try again",
    4: "another process holds the lock of this job",
    5: "the analysis failed its sanity check and was not published",
    130: "interrupted by SIGINT (Ctrl-C)",
    143: "ended by SIGTERM",
}


def _names(command: Any, prefix: str = "") -> list[str]:
    inside = getattr(command, "commands", None)
    if inside is None:
        return [prefix]
    return [name for key, below in inside.items() for name in _names(below, f"{prefix} {key}".strip())]


def _help(*words: str) -> str:
    typer.rich_utils.MAX_WIDTH, typer.rich_utils.FORCE_TERMINAL = 100, None
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="stormda")
    assert done.exit_code == 0, done.output
    return "\n".join(line.rstrip() for line in done.output.strip().splitlines())


def commands() -> dict[str, str]:
    """The help of every command, by its name, in the order of the work."""
    return {name: _help(*name.split()) for name in _names(typer.main.get_command(app))}


def _cli() -> str:
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())
    classes = ", ".join(f"`{kind.__name__}` {code}" for kind, code in EXIT_CODES.items())
    pages = "\n".join(f"## stormda {name}\n\n```text\n{text}\n```\n" for name, text in commands().items())
    return f"""# Command line

{WARNING}
stdout is data: a table, or one JSON document with `--json`. stderr is talk: progress, `WARNING: ...`, and where a job
fails one line, `FATAL ERROR: <what> - file=<path> key=<a.b.c>; hint: <what helps>`. Arguments `key.sub=value` replace
values of the configuration, read as YAML. Times are ISO 8601 in UTC.

## Exit codes

| code | meaning |
|---|---|
{codes}

By class of error (`stormda/errors.py`): {classes}.

## stormda

```text
{_help()}
```

{pages}"""


def _qc() -> str:
    source = (Path(__file__).parents[1] / "stormda" / "observations.py").read_text(encoding="utf-8")
    notes = dict(re.findall(r"(?m)^    ([A-Z_]+) = \d+  # (.*)$", source))
    rows = "\n".join(f"| {code.value} | {code.words} | {notes.get(code.name, '')} |" for code in QC)
    return f"""# Quality control codes

{WARNING}
A value keeps its row for ever: a check sets a code and never deletes, and the first code stays. 0 is used; 1-19 are
set by the provider or by static checks at ingest, 20-39 against the background ensemble, 40 and above by the operator.
A row with code 0 that is *withheld* is kept out of the analysis for verification.

| code | name | why |
|---|---|---|
{rows}
"""


def pages() -> dict[str, str]:
    """The text of every generated page by its name in this folder."""
    return {"cli.md": _cli(), "qc-codes.md": _qc()}


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
