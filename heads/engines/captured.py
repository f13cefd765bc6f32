"""A model run by recorded graphs: a cache of fixed size, queries of a few fixed lengths, nothing left to Python."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads.anatomy import max_positions, output_rows, require_eval, require_rollback
from heads.engines.beside import Beside
from heads.engines.copies import Copies, Weight, weights_of
from heads.engines.eager import EagerLevel
from heads.engines.few_rows import for_few_rows
from heads.engines.fitness import prove_rows, require_fit
from heads.engines.forward import Forward
from heads.engines.fusion import Kernels
from heads.engines.proof import alike
from heads.engines.recording import RecordingRefusedError, as_loaded, outside_inference, record
from heads.engines.slots import Slots, slot_bytes
from heads.level import Fed
from heads.sending import sent

# of several tokens a CPU multiplies three or six at a time
QUERY_LENGTHS: Final[tuple[int, ...]] = (1, 3, 6, 8, 12, 16)
CAPACITIES: Final = (128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
FUSED_CAPACITIES: Final = (512, 1024, 2048, 4096, 8192)  # some kernels are compiled for each
CAPACITY_STEP: Final = 4096  # beyond those
BOARDS_KEPT: Final = 2
KERNELS: Final = 1024  # of forwards: some five for each capacity and length
KERNELS_BESIDE: Final = 64  # of steps beside them, which may be asked with other numbers for each text
ROOMY: Final = (
    4  # a cache so many times too large is still used: attention over it costs less than recording anew
)
PAD: Final = 0

Step = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class _Board:
    """A cache of one capacity, and the graphs recorded over it."""

    slots: Slots
    graphs: dict[int, Step] = field(default_factory=dict)


class CapturedLevel:
    """A transformers causal LM over a cache of fixed size, each length of query recorded once.

    A query is padded to the next of a few lengths. What padding writes lies beyond the text and is overwritten
    before it is looked at. A cache is sized in steps, and rolling back moves a number.

    Args:
        model: In eval mode, on one device, of any floating dtype.
        name: What reports and messages call it.
        query_lengths: What queries are padded to, ascending. One alone pads every query to it: then one token and
            several are computed by the same kernels, and in bfloat16 too a cascade gives what plain decoding gives.
            Longer queries (the prompt) run unrecorded.
        recorded: False runs the same steps without recording them.
        fused: torch.compile makes the kernels that are recorded.
        packed: Lay weights out anew, on a CPU for queries of several tokens, which takes their memory once more, and
            the small ones of a fused model side by side.

    Raises:
        RollbackError: the model's state cannot be taken back token by token.
        IncompatibleError: it is in training mode, on several devices, or of a kind whose rows do not come out right.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        name: str,
        query_lengths: Sequence[int] = QUERY_LENGTHS,
        recorded: bool = True,
        fused: bool = False,
        packed: bool = True,
    ) -> None:
        self.engine: Literal["captured", "fused"] = "fused" if fused else "captured"
        self.model = model
        self.name = name
        self.length = 0
        self.forwards = 0
        self.seconds = 0.0
        self.query_lengths = tuple(sorted(query_lengths))
        self.refusal: str | None = None  # why nothing is recorded, where that was tried
        require_eval(model, name)
        require_rollback(model, name)
        require_fit(model, name)
        self._forward = Forward(model, name)
        self._bound = max_positions(model)
        self._recorded = False  # the proof runs the steps, and each recording is held against its step
        self._kernels: Kernels | None = Kernels(KERNELS) if fused else None
        self._kernels_beside = Kernels(KERNELS_BESIDE)
        self._boards: OrderedDict[int, _Board] = OrderedDict()
        self._board: _Board | None = None
        self._weights: list[Weight] = []  # when the first of these was made
        self._pool: Any = None
        self._copies = Copies(model) if packed else None
        self.beside = Beside()
        try:
            with as_loaded(self._forward.device):
                prove_rows(self, EagerLevel(model, name=name), model)
        finally:
            self.forget()
        self._recorded = recorded

    @property
    def slack(self) -> int:
        """Positions that padding may take past the text."""
        return self.query_lengths[-1]

    def capacity(self, positions: int) -> int:
        """The size of the cache for a text of so many positions."""
        return capacity_for(positions + self.slack, fused=self.engine == "fused")

    def bytes_for(self, positions: int) -> int:
        """Memory that the cache of such a text takes; 0 where it is there already."""
        return 0 if self._fitting(positions) else slot_bytes(self.model, self.capacity(positions))

    def begin(self, positions: int = 0) -> None:
        """Empty the cache and the counters, and choose a cache that is large enough."""
        self.length = 0
        self.forwards = 0
        self.seconds = 0.0
        if self._boards and self._outdated():
            self.forget()
        self._board = self._board_of(self._fitting(positions) or self.capacity(positions))
        with outside_inference():
            self._board.slots.clear()

    def end(self) -> None:
        """Let go of the text; cache and graphs stay, for the next one."""
        self.length = 0
        self._board = None

    def forget(self) -> None:
        """Give the memory of all caches and graphs back, and that of weights laid out for them."""
        self.end()
        self._boards.clear()
        self.beside.clear()
        self._pool = None
        if self._copies is not None:
            self._copies.clear()

    @torch.inference_mode()
    def feed(self, token_ids: Sequence[int] | Tensor, rows: int) -> Fed:
        """One forward, padded to a recorded length where there is one."""
        started = time.perf_counter()
        count = len(token_ids)
        if self.length == 0 < count - rows and self.query_lengths[0] > 1:
            # where one token is padded, the last of the prompt is: whatever is fed with it, it takes the same path
            self._show(token_ids[: count - rows], 1)
            token_ids = token_ids[count - rows :]
        fed = self._show(token_ids, rows)
        self.seconds += time.perf_counter() - started
        return fed

    def _show(self, token_ids: Sequence[int] | Tensor, rows: int) -> Fed:
        """One forward of the model."""
        count = len(token_ids)
        length = next((one for one in self.query_lengths if one >= count), count)
        board = self._room_for(self.length + length)
        packed = self._packed(token_ids, length)
        if count > self.query_lengths[-1]:
            logits, hidden = self._step(board, packed, rows)
        else:
            # a prompt comes once: nothing is recorded for its length alone
            play = self._graph(board, length) if self.length or length in board.graphs else None
            logits, hidden = self._step(board, packed, length) if play is None else play(packed)
            logits, hidden = logits[count - rows : count], hidden[count - rows : count]
        self.length += count
        self.forwards += 1
        return Fed(logits=logits, hidden=hidden)

    def recorded(
        self, step: Callable[..., tuple[Tensor, ...]], *examples: Tensor
    ) -> Callable[..., tuple[Tensor, ...]]:
        """A step on what a forward shows, recorded as the forwards are; the step itself where nothing is.

        Args:
            step: See `record`.
            examples: Inputs that are in order: the step is run on them.
        """
        if not self._recorded:
            return step
        fused = None if self._kernels is None else self._kernels_beside
        for kernels in dict.fromkeys((fused, None)):
            try:
                return record(step, *examples, pool=self._pool, kernels=kernels)
            except RecordingRefusedError as error:
                self.refusal = str(error)
        return step

    def rollback(self, length: int) -> None:
        """The cache keeps what is past `length`, behind the mask, until it is written over."""
        self.length = min(self.length, length)

    def padded(self, lengths: Iterable[int]) -> list[int]:
        """What queries of these lengths are padded to, each once; those that run unrecorded left out."""
        found = {next((one for one in self.query_lengths if one >= length), 0) for length in lengths}
        return sorted(found - {0})

    def warm_up(
        self, positions: int, lengths: Iterable[int], *, told: Callable[[], None] = lambda: None
    ) -> None:
        """Record ahead what texts of so many positions need for queries of these lengths."""
        self.begin(positions)
        for length in self.padded(lengths):
            if self._board is not None:
                self._graph(self._board, length)
            told()
        self.end()

    def _outdated(self) -> bool:
        """Whether weights lie elsewhere or are others than those that caches and recordings were made for."""
        now = weights_of(self.model)
        moved = [one[:2] for one in now] != [one[:2] for one in self._weights]
        return moved or (self._copies is not None and self._copies.stale(now))

    def _fitting(self, positions: int) -> int | None:
        """The smallest cache that is there and neither too small nor far too large."""
        need = positions + self.slack
        return min(
            (one for one in self._boards if need <= one <= ROOMY * self.capacity(positions)), default=None
        )

    def _packed(self, token_ids: Sequence[int] | Tensor, length: int) -> Tensor:
        """(1 + length,): where the query begins, and its tokens, padded."""
        device = self._forward.device
        if isinstance(token_ids, Tensor):
            begin = torch.full((1,), self.length, dtype=torch.long, device=device)
            rest = length - len(token_ids)
            return torch.cat((begin, token_ids, begin.new_full((rest,), PAD)) if rest else (begin, token_ids))
        padding = [PAD] * (length - len(token_ids))
        return sent([self.length, *token_ids, *padding], device)

    def _step(self, board: _Board, packed: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """The forward itself, (1 + n,) to logits (rows, vocab) and hidden states (rows, hidden)."""
        slots = packed[0] + torch.arange(len(packed) - 1, device=packed.device)
        # padding may stand past the last position the model knows: nobody reads what it says there
        positions = slots if self._bound is None else slots.clamp(max=self._bound - 1)
        return self._forward(packed[1:], positions, board.slots.cache, rows=rows, mask=board.slots.at(slots))

    def _graph(self, board: _Board, length: int) -> Step:
        """What to play for queries of a length; recorded at its first use, where that is wanted."""
        found = board.graphs.get(length)
        if found is None:

            def step(packed: Tensor) -> tuple[Tensor, Tensor]:
                return self._step(board, packed, length)

            found = step
            if self._recorded:
                example = torch.zeros(1 + length, dtype=torch.long, device=self._forward.device)
                example[0] = self.length
                found = self._record(step, example)
            board.graphs[length] = found
        return found

    @torch.inference_mode()
    def _record(self, step: Step, packed: Tensor) -> Step:
        if self._pool is None and packed.device.type == "cuda":
            self._pool = torch.cuda.graph_pool_handle()
        with outside_inference():
            step(packed)  # what is made at the first call is made now
        while True:
            kernels = self._kernels
            try:
                few = for_few_rows(
                    packed.device, self.model.dtype, len(packed) - 1, attention=kernels is None
                )
                recording = record(
                    step, packed, pool=self._pool, kernels=kernels, copies=self._copies, within=few
                )
            except RecordingRefusedError as error:
                why = str(error)
            else:
                if self._says_the_same(recording, step, packed):
                    return recording
                why = "a recording gave other rows than what it recorded"
            if kernels is None:
                self._recorded, self.refusal = False, why
                return step
            self._kernels, self.engine, self.refusal = None, "captured", f"it cannot be fused: {why}"
            if self._copies is not None:
                self._copies.clear()

    def _says_the_same(self, recording: Step, step: Step, packed: Tensor) -> bool:
        """Whether logits and hidden states are those of the step, for the tokens recorded with and for others."""
        others = packed.clone()
        others[1:] = torch.arange(7, 7 * len(packed), 7, device=packed.device) % output_rows(self.model)
        for given in (packed, others):
            with outside_inference():
                expected = [shown.float().clone() for shown in step(given)]
            if not all(
                alike(*both) for both in zip(map(Tensor.float, recording(given)), expected, strict=True)
            ):
                return False
        return True

    def _room_for(self, positions: int) -> _Board:
        """The board, moved to a larger one where the text has outgrown it."""
        board = self._board
        if board is None:
            raise RuntimeError("feed before begin")
        if positions <= board.slots.capacity:
            return board
        larger = self._board_of(self.capacity(positions))
        with outside_inference():
            larger.slots.take_over(board.slots)
        self._board = larger
        return larger

    def _board_of(self, capacity: int) -> _Board:
        """The board of a capacity, made where it is not there; the one that was used longest ago goes."""
        if not self._boards:
            self._weights = weights_of(self.model)
        if capacity not in self._boards:
            while len(self._boards) >= BOARDS_KEPT:
                self._boards.popitem(last=False)
            self._boards[capacity] = _Board(Slots(self.model, capacity))
        self._boards.move_to_end(capacity)
        return self._boards[capacity]


def capacity_for(need: int, *, fused: bool = False) -> int:
    """The smallest size of a cache that holds so many positions."""
    sizes = FUSED_CAPACITIES if fused else CAPACITIES
    return next((size for size in sizes if need <= size), -(-need // CAPACITY_STEP) * CAPACITY_STEP)
