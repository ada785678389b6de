"""How fields are ingested: by how many processes, and on which machines."""

__all__ = ["IngestConfig"]

from pydantic import Field

from stormda.config.fields import Section


class IngestConfig(Section):
    """Who reads gridded fields and writes them to the archive; the archive is the same."""

    processes: int = Field(1, ge=1, le=1024, description="of this machine, that read and write blocks of the archive")
    dask: str | None = Field(
        None,
        pattern=r"^(local(:[1-9]\d*)?|[a-z]+://\S+|[A-Za-z0-9.-]+:\d+)$",
        description="a Dask scheduler that has them done: tcp://HOST:8786, local or local:4; its workers see the same "
        "files under the same names",
    )
