"""Where a command computes its networks: what the configuration asks for, and whether it is there."""

__all__ = ["device_of", "precision_of"]

import torch

from stormda.config import Config
from stormda.errors import ConfigError


def device_of(config: Config) -> str:
    """`cpu` or `cuda`, which is the accelerator of this process; raises ConfigError where there is none."""
    asked = config.compute.device
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        what = f"torch {torch.__version__} sees no accelerator"
        raise ConfigError(what, key="compute.device", hint="auto or cpu; stormda doctor says what there is")
    return "cuda" if there and asked != "cpu" else "cpu"


def precision_of(config: Config) -> torch.dtype | None:
    """Of products within networks, None that of their weights; raises ConfigError for bfloat16 without accelerator.

    On a processor bfloat16 is a hundred times slower than float32.
    """
    if config.compute.precision == "float32":
        return None
    if device_of(config) == "cpu":
        what = "products in bfloat16 need an accelerator, and networks are computed on the processor"
        raise ConfigError(what, key="compute.precision", hint="float32, or compute.device=cuda where one is")
    return torch.bfloat16
