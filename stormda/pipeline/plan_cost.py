"""What a job costs on so many ranks: how they are laid out, memory of each, seconds of each kind of work and of talk.

G ranks are E x T x S (`stormda.distributed.mesh`): members or samples, parts of a member, shards of weights. S is the
least that leaves half of the memory for tokens, T the least with which a member fits beside them; where there are more
ranks than members T grows, which is strong scaling of one member.

    compute        work of a rank / rates      (`stormda.pipeline.work`, `fit`, `stormda.config.machines`)
    reduction      2 (n - 1) / n bytes / bandwidth + 2 log2(n) latency, over n ranks
    frames         bytes / bandwidth + 8 latency, with the neighbours: keys and values of a halo around each part, as
                   wide as tiles reach over a cut: their halo, and half a tile on average over the shifts of the layers
    storage        members written, or samples read, by all ranks together

Nothing is hidden behind work. `docs/plan.md` has the formulae in full.
"""

__all__ = ["Asked", "Costs", "Row", "Sent", "Task"]

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stormda.config.machines import Machine
from stormda.config.presets import PRESETS
from stormda.distributed.tiled import parts_of
from stormda.errors import ConfigError
from stormda.nn.storm import Storm
from stormda.pipeline.fit import Fit
from stormda.pipeline.room import drawn
from stormda.pipeline.work import PRODUCT, TRAINING, Work

Task: TypeAlias = Literal["analysis", "training"]

_GIB = 1 << 30
_RIMS = 3  # halos of a pass before the blocks: planes, history, places
_TRAINED = 6.0  # numbers a weight: itself, gradient, two moments, average, best


@dataclass(frozen=True)
class Asked:
    """A job.

    Args:
        preset: a name of `PRESETS`.
        shape: (H, W).
        channels, frames, window, patch: of the network: C, K history frames, L noisy frames at once.
        members: of an ensemble.
        observations: of a window.
        steps: calls of the denoiser for a draw.
        products: with its derivative, a call with guidance.
        batch: members at a time, or samples of a step of training, all ranks together.
        task: `analysis` or `training`.
        blocks: instead of the preset's.
    """

    preset: str
    shape: tuple[int, int]
    channels: int = 6
    frames: int = 2
    window: int = 1
    patch: int = 2
    members: int = 32
    observations: int = 100_000
    steps: int = 16
    products: int = 4
    batch: int = 1
    task: Task = "analysis"
    blocks: int | None = None


@dataclass(frozen=True)
class Sent:
    """What the rank that sends most says to the other parts of a member in a forward pass.

    Args:
        halo: bytes of keys and values around its part.
        messages: that they take, and the rims of three fields besides, whose bytes are few.
        merge: bytes of what latents have read.
        reductions: sums and maxima over all parts.
    """

    halo: float
    messages: int
    merge: float
    reductions: int


@dataclass(frozen=True)
class Row:
    """A number of ranks: how they are laid out, and what each of them needs; seconds of the whole job."""

    ranks: int
    ensemble: int
    tile: int
    shard: int
    memory_gib: float
    matrix: float
    attention: float
    moved: float
    weights: float
    calls: float
    communication: float
    storage: float
    seconds: float
    efficiency: float
    tokens_per_second: float
    bottleneck: str

    @property
    def compute(self) -> float:
        """Seconds of all work."""
        return self.matrix + self.attention + self.moved + self.weights + self.calls


@dataclass(frozen=True, eq=False)
class Costs:
    """What does not depend on the number of ranks."""

    asked: Asked
    machine: Machine
    fit: Fit
    call: Work
    parameters: int
    places: tuple[int, int]
    width: int
    heads: int
    blocks: int
    latents: int
    reach: float  # tokens by which a layer looks over a cut, on average
    largest: int  # weights of a block

    @classmethod
    def of(cls, asked: Asked, network: Storm, call: Work, machine: Machine, rates: Fit) -> "Costs":
        """Of a network, which needs no storage, and the work of a call of it."""
        size = PRESETS[asked.preset]
        parameters = sum(p.numel() for p in network.parameters())
        largest = sum(p.numel() for p in network.blocks[0].parameters())
        blocks = len(network.blocks)
        shape = network.patches.count
        return cls(asked, machine, rates, call, parameters, (shape[0], shape[1]), size.width, size.heads, blocks,
                   size.latents, size.halo + size.tile / 2, largest)  # fmt: skip

    @property
    def tokens(self) -> int:
        """Noisy tokens of a member."""
        return self.places[0] * self.places[1] * self.asked.window

    @property
    def training(self) -> bool:
        """Whether the job is a step of training."""
        return self.asked.task == "training"

    @property
    def samples(self) -> int:
        """That ranks can be divided among."""
        return self.asked.batch if self.training else self.asked.members

    def shard(self) -> int:
        """The least that leaves half of a rank's memory for tokens: a power of two."""
        number = _TRAINED * 4 if self.training else 4
        room = self.machine.memory_gib * _GIB / 2 - 2 * 4 * self.largest
        if room <= 0:
            raise ConfigError("two blocks of the network do not fit into half of a rank's memory", key="--machine")
        return 1 << max(0, math.ceil(math.log2(max(1.0, number * self.parameters / room))))

    def memory(self, tile: int, shard: int) -> float:
        """Bytes of a rank: weights, two gathered blocks, tokens, fields."""
        weights = (_TRAINED if self.training else 1.0) * 4 * self.parameters / shard
        gathered = 2 * 4 * self.largest if shard > 1 else 0
        at_once = 1 if self.training else self.asked.batch
        graph = self.training or self.asked.products > 0
        points = math.prod(self.asked.shape) * self.asked.channels * (self.asked.window + self.asked.frames)
        sample = drawn(self.tokens * self.width, points, self.blocks, graph, self.machine.bytes_per_number)
        return weights + gathered + at_once * sample / tile

    def layout(self, ranks: int) -> tuple[int, int, int] | None:
        """E, T, S; None where the job does not fit."""
        shard = self.shard()
        if shard > ranks:
            return None
        room, tile = self.machine.memory_gib * _GIB, 1
        while self.memory(tile, shard) > room:
            tile *= 2
            if tile * shard > ranks or tile > self.tokens:
                return None
        free = ranks // (tile * shard)
        groups = self.samples
        if free * (shard if self.training else 1) > groups:  # more ranks than samples: cut these further
            more = free * (shard if self.training else 1) // groups
            tile *= 1 << int(math.log2(more)) if more > 1 else 1
            free = ranks // (tile * shard)
        return free, tile, shard

    def least(self) -> int:
        """The fewest ranks, a power of two, that hold the job."""
        ranks = 1
        while self.layout(ranks) is None:
            ranks *= 2
            if ranks > max(self.machine.ranks, 1) * 2**20:
                raise ConfigError("no number of ranks holds this job", key="--shape")
        return ranks

    def row(self, ranks: int) -> Row:
        """Seconds of each part, for as many ranks."""
        found = self.layout(ranks)
        assert found is not None
        ensemble, tile, shard = found
        a = self.asked
        if self.training:
            mine, each, said = math.ceil(a.batch / (ensemble * shard)), TRAINING, 3.0
            passes = 1
        else:
            mine = math.ceil(a.members / ensemble)
            each, said = a.steps * (2 + PRODUCT * a.products), a.steps * (2 + 2.0 * a.products)
            passes = math.ceil(mine / a.batch)
        whole = self.fit.parts(self.call * each)
        # Every rank reads all weights and calls all streams, once for all members at a time.
        products, attention, moved = (mine * seconds / tile for seconds in whole[:3])
        weights, calls = (passes * seconds for seconds in whole[3:])
        parts = products, attention, moved, weights, calls
        talk = said * (passes * self._gathered(shard) + mine * self._exchanged(tile, shard))
        talk += self._talk_once(ensemble, tile, shard)
        numbers = math.prod(a.shape) * a.channels * a.window * (a.batch if self.training else 2 * a.members)
        storage = 4 * numbers / (self.machine.storage_gbps * 1e9)
        seconds = sum(parts) + talk + storage
        named = dict(zip(("matrix products", "attention", "memory", "weights", "calls", "communication", "storage"),
                         (*parts, talk, storage), strict=True))  # fmt: skip
        worst = max(named, key=lambda name: named[name])
        calls = (a.batch if self.training else a.members * a.steps * 2) * self.tokens
        used = self.memory(tile, shard) / _GIB
        return Row(ranks, ensemble, tile, shard, used, *parts, talk, storage, seconds, 1.0, calls / seconds, worst)

    def _exchanged(self, tile: int, shard: int) -> float:
        """Seconds of what the parts of a member say to each other in one pass, forward or backward."""
        seconds = 0.0
        if tile > 1:
            layers, sent = 2 * self.blocks, self.sent(tile)
            layer = self._exchange(sent.halo / layers, shard * tile)
            layer += 2 * self._reduce(sent.merge / layers / 2, tile, shard * tile)
            seconds += layers * layer
            solver = self._reduce(8 * max(1, self.asked.batch), tile, shard * tile)
            seconds += solver * (3 if self.asked.products else 0)
        return seconds

    def _gathered(self, shard: int) -> float:
        """Seconds in which the weights of all blocks are gathered, one block after another."""
        bandwidth, latency = self._link(shard)
        size = 4 * self.parameters * (shard - 1) / shard
        return size / bandwidth + self.blocks * math.log2(shard) * latency

    def _talk_once(self, ensemble: int, tile: int, shard: int) -> float:
        """Seconds of what is said once: gradients of a step; or observations to all, and H of members to all."""
        ranks = ensemble * tile * shard
        if ranks == 1:
            return 0.0
        if self.training:
            return self._reduce(4 * self.parameters / shard, ensemble * tile, ranks) if ensemble * tile > 1 else 0.0
        seen = 8 * self.asked.observations * (16 + 2 * self.asked.members)
        bandwidth, latency = self._link(ranks)
        return seen / bandwidth + 2 * math.log2(ranks) * latency

    def sent(self, tile: int) -> Sent:
        """In a pass with so many parts, cut in time as well where that sends less: self- and cross-attention."""
        best, messages = math.inf, 0
        h, w = self.places
        slices = 1
        while slices <= min(tile, self.asked.window):
            parts, length = tile // slices, self.asked.window / slices
            if parts <= h * w:
                rows, columns = parts_of(parts, self.places)
                a, b = h / rows, w / columns
                up, across = min(rows - 1, 2), 2 * (columns > 1)  # columns wrap, rows do not
                frame = self.reach * (up * b + across * a + up * across * self.reach) * length
                frame += 2 * h * w / parts if slices > 1 else 0.0
                if frame < best:
                    best = frame
                    messages = (up + 1) * (min(columns - 1, 2) + 1) - 1 + 2 * (slices > 1)
            slices *= 2
        layers = 2 * self.blocks
        halo = 2 * self.width * best * self.machine.bytes_per_number  # keys and values
        merge = self.latents * (self.width + 2 * self.heads) * 4.0  # maxima; sums of exponentials, and of what is read
        return Sent(layers * halo, (layers + _RIMS) * messages, layers * merge, 2 * layers)

    def _link(self, ranks: int) -> tuple[float, float]:
        """Bytes a second and latency of the slowest link among as many neighbouring ranks."""
        m = self.machine
        if ranks <= m.ranks_per_node:
            return m.node_gbps * 1e9, m.node_latency_us * 1e-6
        return m.network_gbps * 1e9, m.network_latency_us * 1e-6

    def _reduce(self, size: float, ranks: int, span: int) -> float:
        bandwidth, latency = self._link(span)
        return 2 * (ranks - 1) / ranks * size / bandwidth + 2 * math.log2(ranks) * latency

    def _exchange(self, size: float, span: int) -> float:
        bandwidth, latency = self._link(span)
        return size / bandwidth + 8 * latency
