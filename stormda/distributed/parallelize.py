"""Weights and gradients over ranks, put around a network from outside; the order of this file is the recipe.

    ensemble   every rank has all weights and its own samples; gradients are averaged while the backward pass still runs
               (DistributedDataParallel, Li et al. 2020, https://arxiv.org/abs/2006.15704)
    shard      every rank has 1/n of each tensor of weights, gradients and optimiser; a block's weights are gathered
               before its forward and its backward pass and given up again (FSDP2 of torch; Zhao et al. 2023,
               https://arxiv.org/abs/2304.11277), so a rank never holds more than its parts and two whole blocks
    both       parts within each group of `shard` ranks, gradients averaged over the groups besides

`Spread` tells training (`stormda.training.team`) how its ranks talk. Blocks are cut one by one as they are built, so
that a network which no rank could hold has the same initial weights as if one had built it: the random numbers come in
the same order. For use without training, `read_weights` builds blocks without storage (device `meta`), cuts them, and
reads from safetensors files only the rows that are its own.
"""

__all__ = ["Held", "Spread", "cut", "on_meta", "read_weights"]

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from stormda.errors import CheckpointError, InputMissing
from stormda.nn.block import Block


def cut(
    module: nn.Module,
    mesh: DeviceMesh,
    precision: torch.dtype | None = None,
    whole: Collection[nn.Parameter] = (),
) -> nn.Module:
    """Cut the weights of a module over the axis `shard`; inside it they are gathered for the time of a pass.

    Args:
        module: changed in place. Parts of it that were cut before are left alone.
        mesh: with axes `ensemble` and `shard`; over the first, gradients are averaged.
        precision: of gathered weights and of what runs in the module; its answers and the mean of gradients are in
            float32. None: that of the weights.
        whole: weights that every rank keeps.
    """
    policy = MixedPrecisionPolicy()
    if precision is not None:
        policy = MixedPrecisionPolicy(precision, reduce_dtype=torch.float32, output_dtype=torch.float32)
    over = mesh["ensemble", "shard"] if mesh["ensemble"].size() > 1 else mesh["shard"]
    # The root too: after a pass without gradients its weights would else stay gathered, and be taken for the model's.
    fully_shard(module, mesh=over, reshard_after_forward=True, mp_policy=policy, ignored_params=set(whole))
    return module


def on_meta(*arguments: Any) -> Block:
    """A block without storage: shapes alone."""
    with torch.device("meta"):
        return Block(*arguments)


@dataclass(frozen=True, eq=False)
class Held:
    """The blocks of a network that the ranks along `shard` hold together, for use without training.

    All of them call the network together, with the same fields: each gives up a block as soon as it has used it.

    Args:
        mesh: with axes `ensemble` and `shard`.
    """

    mesh: DeviceMesh

    def block(self, *arguments: Any) -> nn.Module:
        """A block, of which this rank will have a part."""
        return cut(on_meta(*arguments), self.mesh)

    def fill(self, network: nn.Module, path: Path) -> None:
        """Cut what is left of the network and read the rows that are this rank's."""
        read_weights(cut(network, self.mesh), [path], "model.network.")


@dataclass(eq=False)
class Spread:
    """The ranks of a mesh as training sees them (`stormda.training.team.Team`).

    Args:
        mesh: with axes `ensemble` and `shard`; others have one rank.
        precision: of blocks that are cut, see `cut`; the rest of the model keeps that of its weights.
    """

    mesh: DeviceMesh
    precision: torch.dtype | None = None
    number: int = field(init=False)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        ensemble, shard = self.mesh["ensemble"], self.mesh["shard"]
        self.count = ensemble.size() * shard.size()
        self.number = ensemble.get_local_rank() * shard.size() + shard.get_local_rank()

    @property
    def cut(self) -> bool:
        """Whether weights are cut."""
        return bool(self.mesh["shard"].size() > 1)

    def block(self, *arguments: Any) -> nn.Module:
        """A block, of which only this rank's part stays in memory."""
        block = Block(*arguments)
        return cut(block, self.mesh, self.precision) if self.cut else block

    def spread(self, model: nn.Module) -> nn.Module:
        """The model with what is left of it cut, or with all of it everywhere and gradients averaged.

        What is not trained, a model of the flow, stays whole: the guess is asked without the network too.
        """
        if self.cut:
            return cut(model, self.mesh, whole=[p for p in model.parameters() if not p.requires_grad])
        if self.count == 1:
            return model
        return DistributedDataParallel(model, process_group=self._groups[0], broadcast_buffers=False)

    def sum(self, x: Tensor) -> Tensor:
        """The sum over all ranks of the mesh."""
        y = x.detach().to(self.mesh.device_type, copy=True)
        for group in self._groups:
            dist.all_reduce(y, group=group)
        return y.to(x.device)

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors on the first rank, in the memory of the processor where they were cut, one after another."""
        whole = {}
        for name, value in tensors.items():
            if isinstance(value, DTensor):
                full = value.full_tensor()
                whole[name] = full.cpu() if self.number == 0 else full.new_empty(0, device="cpu")
            else:
                whole[name] = value
        return whole

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """This rank's part of a tensor, where `like` is cut; nothing is sent."""
        whole = whole.to(like.device)
        if not isinstance(like, DTensor):
            return whole
        return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)

    @cached_property
    def _groups(self) -> list[dist.ProcessGroup]:
        axes = [name for name in ("ensemble", "shard") if self.mesh[name].size() > 1]
        return [self.mesh[name].get_group() for name in axes]


def read_weights(model: nn.Module, paths: Sequence[Path], prefix: str = "model.") -> None:
    """Fill a model from safetensors files; of what is cut each rank reads its own rows alone.

    Args:
        model: parameters may have no storage yet (device `meta`), where they are cut; they get it here.
        paths: of the files, each tensor in one of them.
        prefix: of the names in the files.

    Raises:
        InputMissing: a file is not there.
        CheckpointError: a file is damaged, or a tensor is missing or has another shape.
    """
    for path in paths:
        if not path.exists():
            raise InputMissing("the weights are not there", file=path, key="storm.weights")
    state = model.state_dict()
    with ExitStack() as stack:
        try:
            files = [stack.enter_context(safe_open(path, framework="pt")) for path in paths]
            home: dict[str, tuple[Any, Path, str, int | None]] = {}
            for file, path in zip(files, paths, strict=True):
                home |= {name: (file, path, name, None) for name in file.keys()}  # noqa: SIM118
                same = json.loads((file.metadata() or {}).get("stormda", "{}")).get("same", {})
                home |= {name: (file, path, other, rows) for name, (other, rows) in same.items()}
        except SafetensorError as error:
            raise CheckpointError("the file is damaged", file=paths[0], key="storm.weights") from error
        if missing := [name for name in state if prefix + name not in home]:
            what = f"the weights lack {len(missing)} tensors of the network, such as {missing[0]}"
            raise CheckpointError(what, file=paths[0], key="storm.weights")
        filled = {}
        for name, like in state.items():
            file, path, where, rows = home[prefix + name]
            stored = file.get_slice(where)
            shape = tuple(stored.get_shape())
            shape = shape if rows is None else (rows, *shape[1:])
            if shape != tuple(like.shape):
                what = f"{name} has shape {shape} in the file and {tuple(like.shape)} in the network"
                raise CheckpointError(what, file=path, key="storm.weights")
            filled[name] = _rows(stored, like)
    model.load_state_dict(filled, assign=True)


def _rows(stored: Any, like: Tensor) -> Tensor:
    """What this rank holds of a stored tensor."""
    if not isinstance(like, DTensor):
        whole = stored[: like.shape[0]] if like.ndim else stored[...]
        return whole.to(like.dtype) if like.device.type == "meta" else whole.to(like)  # type: ignore[no-any-return]
    mesh = like.device_mesh
    axis = next(i for i, placement in enumerate(like.placements) if isinstance(placement, Shard))
    count, mine = mesh.size(axis), mesh.get_local_rank(axis)
    rows = -(-like.shape[0] // count)  # as torch.chunk cuts
    local = stored[min(mine * rows, like.shape[0]) : min((mine + 1) * rows, like.shape[0])]
    local = local.to(mesh.device_type, like.dtype)
    return DTensor.from_local(local, mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())
