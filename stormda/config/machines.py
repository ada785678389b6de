"""Machines as `stormda plan` sees them: ranks (a core or an accelerator) live in nodes, nodes in a network.

    laptop        a core of a laptop: 60 GFLOP/s of float32 products, as measured for results.md on one; the rest is
                  of the order that such machines have
    h200-node     eight NVIDIA H200 SXM (data sheet): 141 GB of HBM3e at 4.8 TB/s, 989 TFLOP/s of dense bfloat16
                  products; NVLink 900 GB/s both ways together, 450 GB/s each
    h200-cluster  such nodes as DGX H200 (data sheet): a ConnectX-7 of 400 Gbit/s, 50 GB/s, for every GPU, InfiniBand
                  without contention

Rates are peaks. What a program reaches of them is a matter of the fit (`stormda.pipeline.fit`); where it was measured
on another machine, or not at all, the shares below are assumed, and the plan says so. So are latencies and storage.
"""

__all__ = ["MACHINES", "Machine"]

from pydantic import Field

from stormda.config.fields import Section


class Machine(Section):
    """A description of a machine, as YAML for `stormda plan --machine FILE`."""

    name: str = Field("machine", description="for the table")
    ranks_per_node: int = Field(1, ge=1, description="that share the fast links")
    ranks: int = Field(1, ge=1, description="most that there are")
    memory_gib: float = Field(gt=0, description="of a rank, for tokens and weights")
    matrix_tflops: float = Field(gt=0, description="peak of matrix products of a rank, at the precision that is used")
    memory_gbps: float = Field(gt=0, description="peak of the memory of a rank, GB/s")
    node_gbps: float = Field(gt=0, description="of the links of a rank within a node, GB/s each way")
    network_gbps: float = Field(gt=0, description="of the network of a rank between nodes, GB/s each way")
    node_latency_us: float = Field(5.0, ge=0, description="of one message within a node")
    network_latency_us: float = Field(10.0, ge=0, description="of one message between nodes")
    storage_gbps: float = Field(1.0, gt=0, description="of the file system, all ranks together, GB/s")
    bytes_per_number: int = Field(4, ge=2, le=4, description="of tokens: 4 in float32, 2 in bfloat16")
    matrix_share: float = Field(0.6, gt=0, le=1, description="of the peak that products reach, where not measured")
    attention_share: float = Field(0.4, gt=0, le=1, description="of the peak that attention in tiles reaches")
    memory_share: float = Field(0.6, gt=0, le=1, description="of the peak of memory that all else reaches")
    call_us: float = Field(300.0, ge=0, description="to begin a stream, six of which are a block")


_GPU = {
    "ranks_per_node": 8,
    "memory_gib": 131.0,
    "matrix_tflops": 989.0,
    "memory_gbps": 4800.0,
    "node_gbps": 450.0,
    "network_gbps": 50.0,
    "bytes_per_number": 2,
    "matrix_share": 0.5,
    "attention_share": 0.25,
    "memory_share": 0.6,
    "call_us": 100.0,
}

MACHINES = {
    "laptop": Machine(
        name="laptop",
        memory_gib=8.0,
        matrix_tflops=0.06,
        memory_gbps=20.0,
        node_gbps=5.0,
        network_gbps=0.1,
        node_latency_us=600.0,
        network_latency_us=1000.0,
    ),
    "h200-node": Machine.model_validate(_GPU | {"name": "h200-node", "ranks": 8, "storage_gbps": 10.0}),
    "h200-cluster": Machine.model_validate(_GPU | {"name": "h200-cluster", "ranks": 32768, "storage_gbps": 1000.0}),
}
