"""Where networks are computed, and with how many digits."""

__all__ = ["ComputeConfig"]

from typing import Literal

from pydantic import Field, field_validator

from stormda.config.fields import Section


class ComputeConfig(Section):
    """The device of networks; everything else is computed on the processor."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: an accelerator where torch sees one")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of products within a network; bfloat16 on an accelerator only"
    )

    @field_validator("device", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return "cuda" if value == "gpu" else value  # as people say, and as torch does
