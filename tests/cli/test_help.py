"""The help is the documentation: docs/cli.md is generated from it and must be current, and it costs nothing to ask."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))
COMMANDS: dict[str, str] = GENERATE["commands"]()
HEAVY = ("torch", "xarray", "pandas", "numpy", "yaml", "pyarrow", "netCDF4", "zarr", "matplotlib")


@pytest.mark.parametrize("name", ["cli.md", "qc-codes.md"])
def test_generated_documentation_is_current(name: str) -> None:
    """The snapshot of every help page; `make docs` writes it anew."""
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert GENERATE["pages"]()[name] == written, "run `make docs` and look at the difference"


def test_all_promised_commands_are_there() -> None:
    promised = (
        "demo init check ingest train bias assimilate forecast verify twin inspect plot export doctor plan".split()
    )
    promised += ["config show", "config validate", "config schema"]
    promised += ["cycle run", "cycle catch-up", "cycle status", "cycle unlock", "cycle clean"]
    promised += [
        f"bench {name}"
        for name in ("attention", "copy", "frame", "io", "pair", "past", "reach", "sampler", "scaling", "train")
    ]
    assert set(COMMANDS) == set(promised)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_an_example_that_names_it(name: str) -> None:
    assert f"Example: stormda {name}" in COMMANDS[name]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"config schema"}))
def test_every_command_can_print_json_and_log_for_machines(name: str) -> None:
    options = ["--json", "--verbose", "-v", "--quiet", "-q", "--log-format"]
    assert [o for o in options if o not in COMMANDS[name]] == []


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from stormda.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        f"finally:\n    sys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))\n"
    )
    for arguments in (["--help"], ["assimilate", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert done.stderr == ""


def test_python_m_is_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "stormda", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stormda ")
