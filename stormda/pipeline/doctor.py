"""Stage `doctor`: does this installation work, and on what machine?

Packages that can bring the interpreter down (two copies of one C library) are tried in a process of their own.
"""

__all__ = ["doctor"]

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from stormda import __version__
from stormda.distributed.ranks import find
from stormda.errors import ConfigError
from stormda.pipeline.build import SHIPPED
from stormda.pipeline.doctor_place import look_at
from stormda.pipeline.findings import Finding, Findings, Status

_GIB = 1 << 30
_SECONDS = 120.0  # until a trial counts as hanging
_IMPORTS = {  # package: the module to import
    "numpy": "numpy",
    "scipy": "scipy.linalg",
    "xarray": "xarray",
    "netCDF4": "netCDF4",
    "zarr": "zarr",
    "pandas": "pandas",
    "pyarrow": "pyarrow.dataset",
    "safetensors": "safetensors",
    "scores": "scores",
    "matplotlib": "matplotlib",
    "jinja2": "jinja2",
}
_PROJ = "import pyproj; pyproj.Transformer.from_crs(4326, 3857).transform(50.0, 10.0)"
_GRIB = "import eccodes; eccodes.codes_release(eccodes.codes_grib_new_from_samples('regular_ll_pl_grib2'))"
_MPI = "import sys; from mpi4py import MPI; sys.stderr.write(MPI.Get_library_version().splitlines()[0])"
_TRIALS = {  # what: code that must end well
    "GRIB after PROJ": f"{_PROJ}; {_GRIB}",
    "PROJ after GRIB": f"import pyproj; {_GRIB}; {_PROJ}",
    "BUFR": "import pdbufr",
}


def doctor(folder: Path | None = None) -> Findings:
    """Look at Python, packages, processors, memory, accelerators, MPI, ranks, and the place of a run.

    Args:
        folder: of the run, there or to be made; None: where we are.

    Returns:
        Findings; what is wrong is a finding and no error.
    """
    place = look_at(Path.cwd() if folder is None else folder.absolute())
    parts = _python(), _packages(), _trials(), _machine(), _accelerators(), _mpi(), _ranks(), place
    return Findings.collect("this installation", *parts)


def _python() -> Iterator[Finding]:
    yield Finding(Status.OK, "stormda", __version__)
    yield Finding(Status.OK, "python", f"{platform.python_version()}, {sys.executable}")
    names = sorted(p.stem for p in SHIPPED.glob("*.safetensors"))
    status, hint = (Status.OK, "") if names else (Status.NOTE, "install the package completely, or stormda train")
    yield Finding(status, "shipped priors", ", ".join(names) or "none", hint)


def _packages() -> Iterator[Finding]:
    for package, module in _IMPORTS.items():
        try:
            import_module(module)
            yield Finding(Status.OK, package, version(package))
        except PackageNotFoundError:
            yield Finding(Status.NOTE, package, "works, without a version of its own")
        except Exception as error:  # Whatever keeps it from being imported is what we want to tell.
            yield Finding(
                Status.BROKEN, package, f"{type(error).__name__}: {error}", f"pip install --force-reinstall {package}"
            )


def _trials() -> Iterator[Finding]:
    for what, code in _TRIALS.items():
        ended, words = _try(code)
        if ended == 0:
            yield Finding(Status.OK, what, "works")
        else:
            detail = f"ended by signal {-ended}" if ended < 0 else words
            yield Finding(Status.BROKEN, what, detail, "pip install 'eccodeslib>=2.44,<2.48.3' pyproj pdbufr")


def _try(code: str) -> tuple[int, str]:
    """Run code in a process of its own: exit status (negative: the signal) and the last line of its complaint."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {_SECONDS:g} s"
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


def _machine() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    yield Finding(Status.OK, "processors", f"{os.cpu_count()} logical, {psutil.cpu_count(logical=False) or '?'} cores")
    yield Finding(Status.OK, "memory", f"{memory.total / _GIB:.1f} GiB, {memory.available / _GIB:.1f} free")
    folder = Path(tempfile.gettempdir())
    yield Finding(Status.OK, "temporary files", f"{folder}, {shutil.disk_usage(folder).free / _GIB:.1f} GiB free")


def _accelerators() -> Iterator[Finding]:
    yield Finding(Status.OK, "torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        yield Finding(Status.OK, f"accelerator {number}", f"{device.name}, {device.total_memory / _GIB:.0f} GiB")
    if not torch.cuda.is_available():
        yield Finding(Status.OK, "accelerator", "none: everything runs on the processor")


def _ranks() -> Iterator[Finding]:
    try:
        found = find(os.environ)
    except ConfigError as error:
        yield Finding(Status.BROKEN, "ranks", error.what, error.hint or "")
        return
    if found.size > 1:
        what = f"{found.rank} of {found.size} ({found.said_by}): assimilate and forecast divide the members among them"
        yield Finding(Status.OK, "ranks", what)
    else:
        yield Finding(Status.OK, "ranks", f"one process{f' ({found.said_by})' if found.said_by else ''}")


def _mpi() -> Iterator[Finding]:
    ended, words = _try(_MPI)
    if ended == 0:
        yield Finding(Status.OK, "MPI", " ".join(words.split()))
    else:
        yield Finding(Status.NOTE, "MPI", "no library: one process", "pip install 'stormda[mpi]', only for several")
