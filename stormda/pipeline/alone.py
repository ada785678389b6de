"""Measure in a process of its own: its memory is nobody else's, and where it is killed its parent lives on to tell."""

__all__ = ["alone", "check_device"]

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from stormda.errors import ConfigError, StormdaError

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


def alone(work: Callable[[_Asked], _Answer], asked: _Asked, what: str, smaller: str) -> _Answer:
    """`work(asked)` in a fresh process.

    Args:
        work: a function of a module, which the process imports.
        asked: its argument.
        what: is measured, in words.
        smaller: what to try where memory is short.

    Raises:
        StormdaError: it failed, or was killed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(work, asked, sender), daemon=True)
    process.start()
    sender.close()
    answer: Any
    try:
        done, answer = receiver.recv()
    except EOFError:
        done, answer = False, "the process was killed"
    finally:
        process.kill()
        process.join()
    if not done:
        raise StormdaError(f"{what} failed: {answer}", hint=f"where memory was short: {smaller}, or a smaller --preset")
    result: _Answer = answer
    return result


def _report(work: Callable[[Any], Any], asked: Any, sender: Connection) -> None:
    try:
        sender.send((True, work(asked)))
    except Exception as error:  # Whatever it is, the parent tells it.
        sender.send((False, " ".join(str(error).split())))


def check_device(device: str, dtype: str) -> None:
    """Raise ConfigError for a device that is not there, or a precision that it does not have."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ConfigError(f"there is no device {device}", key="--device", hint="cpu or cuda") from error
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"device {device} is not there", key="--device", hint="stormda doctor lists what is there")
    if dtype not in ("float32", "bfloat16") or (dtype == "bfloat16" and kind == "cpu"):
        raise ConfigError(f"{dtype} is no precision of {kind}", key="--dtype", hint="float32, or bfloat16 on cuda")
