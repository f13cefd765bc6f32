"""The published tri-decoding program, run from a checkout over models that are loaded here; nothing in it is edited.

It was written for transformers 4.57 and a GPU, hence three stand-ins, all on this side: a cache under its old name,
whose `crop` takes the length to keep, as it did then; where there is no GPU, timers in place of CUDA's events; and
there, heads that say they lie on `cpu:0`, since its loop refuses `cpu`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch
from transformers import DynamicCache, PreTrainedModel

from heads.anatomy import cache_argument
from heads.bench.systems import CascadeSystem, Run, Sampling
from heads.bench.timing import settle
from heads.cascade import Cascade
from heads.generation import LevelReport
from registry.errors import UsageError

REPOSITORY: Final = "https://github.com/Nanji-Huaji/DuoDecoding"
LOOP: Final = "adaptive_tridecoding"
ROLES: Final = ("little", "draft", "target")
DEFAULTS: Final[dict[str, Any]] = {  # those of its command line
    "gamma2": 4,  # the most that little drafts
    "gamma1": 4,  # the most that draft adds
    "small_draft_threshold": 0.8,
    "draft_target_threshold": 0.8,
    "transfer_top_k": 300,  # what drafting models keep of their vocabulary
}
_WHOLE: Final = {"seed": 0, "top_k": 0, "top_p": 0.0}  # 0 keeps all tokens, of either
_LINKS: Final = {  # its simulated network adds up times that nobody waits for
    "batch_delay": 0.0,
    "edge_cloud_bandwidth": 20.0,
    "edge_end_bandwidth": 100.0,
    "cloud_end_bandwidth": 100.0,
}


class KeptLength(DynamicCache):
    """A cache whose `crop` takes how many positions to keep."""

    def crop(self, tokens_to_remove: int) -> None:
        """Keep the first so many positions; all, where there are no more."""
        length = int(self.get_seq_length())
        super().crop(min(tokens_to_remove, length) - length)


class CalledModel:
    """A model as the program calls it: by the names of its day, with a cache of that kind; its calls are counted."""

    def __init__(self, model: PreTrainedModel, *, drafts: bool) -> None:
        self.model = model
        self.drafts = drafts
        self.calls = 0
        self._cache_argument = cache_argument(model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, ids: torch.Tensor, past_key_values: object = None, **options: Any) -> SimpleNamespace:
        """One forward; the first of a text has no cache yet. Heads read the hidden states of what drafts."""
        self.calls += 1
        cache = KeptLength(config=self.model.config) if past_key_values is None else past_key_values
        options |= {self._cache_argument: cache, "use_cache": True, "output_hidden_states": self.drafts}
        found = self.model(ids, **options)
        return SimpleNamespace(logits=found.logits, past_key_values=cache, hidden_states=found.hidden_states)


class HostTimer:
    """What the loop asks of a CUDA event, by the host's clock."""

    def __init__(self, **_: object) -> None:
        self.at = 0.0

    def record(self, **_: object) -> None:
        """Remember the time."""
        self.at = time.perf_counter()

    def elapsed_time(self, other: HostTimer) -> float:
        """Milliseconds from this to the other."""
        return 1e3 * (other.at - self.at)


class Program:
    """The checkout's loop over a cascade's own models; it loads the heads by itself.

    Args:
        checkout: A folder whose code is then run with the rights of this process.
        cascade: Three models.
        heads: The folders of both heads, the smaller edge's first.

    Raises:
        UsageError: the chain has not three models, or the checkout cannot be imported.
    """

    def __init__(self, checkout: Path, cascade: Cascade, heads: Sequence[Path]) -> None:
        if len(cascade.models) != len(ROLES):
            raise UsageError(
                f"The program runs three models, got {len(cascade.models)}. Name a chain of that length."
            )
        self.device = cascade.models[-1].device
        self.models = [CalledModel(model, drafts=model is not cascade.models[-1]) for model in cascade.models]
        self.args = argparse.Namespace(eval_mode=LOOP, **_WHOLE, **_LINKS, **DEFAULTS)
        self.args.small_draft_acc_head_path, self.args.draft_target_acc_head_path = map(str, heads)
        self._loop = _imported(checkout, self.args)
        for role, model in zip(ROLES, self.models, strict=True):
            setattr(self._loop, f"{role}_model", model)
        self._loop.vocab_size = cascade.vocab_size
        self._loop.load_acc_head()
        if self.device.type == "cpu":
            for adapter in (self._loop.small_draft_adapter, self._loop.draft_target_adapter):
                adapter.__class__ = type("OnHost", (type(adapter),), {"device": torch.device("cpu", 0)})

    def run(
        self, prompt: Sequence[int], sampling: Sampling, settings: dict[str, Any], *, seed: int
    ) -> tuple[list[int], float, dict[str, Any]]:
        """The new tokens, as many as were asked for or a few more, the seconds, and what it says of itself."""
        vars(self.args).update(settings, temp=sampling.temperature, max_tokens=sampling.max_new_tokens)
        self._loop.small_draft_adapter.threshold = settings["small_draft_threshold"]
        self._loop.draft_target_adapter.threshold = settings["draft_target_threshold"]
        ids = torch.tensor([list(prompt)], device=self.device)
        for model in self.models:
            model.calls = 0
        with torch.random.fork_rng(), _stand_ins(self.device):
            torch.manual_seed(seed)
            settle(self.device)
            began = time.perf_counter()
            out, told = self._loop.adaptive_tridecoding(ids, transfer_top_k=settings["transfer_top_k"])
            seconds = time.perf_counter() - began  # it waits for its device itself
        return [int(token) for token in out[0, len(prompt) :]], seconds, dict(told)


@dataclass(kw_only=True)
class PeerSystem(CascadeSystem):
    """The cascade's models and heads, run by the program; `settings` are those of its command line."""

    program: Program

    def run(self, prompt: Sequence[int], sampling: Sampling, *, seed: int) -> Run:
        """See `System`. Its last round may go past the length: those tokens are cut off.

        Raises:
            UsageError: top_k, top_p or min_p, which it never applies to the target.
        """
        if sampling.top_k or sampling.top_p < 1 or sampling.min_p:
            raise UsageError(
                "The program draws from the target's whole distribution. Leave out top_k, top_p and min_p."
            )
        tokens, seconds, told = self.program.run(prompt, sampling, self.settings, seed=seed)
        levels = tuple(
            LevelReport(
                model=name,
                forwards=model.calls,
                proposed=told[f"{role}_generated_tokens"] if model.drafts else None,
                accepted=told[f"{role}_accepted_tokens"] if model.drafts else None,
            )
            for role, name, model in zip(ROLES, self.models, self.program.models, strict=True)
        )
        return Run(token_ids=tokens[: sampling.max_new_tokens], seconds=seconds, levels=levels)


def _imported(checkout: Path, args: argparse.Namespace) -> Any:
    """Its decoding class, made concrete: what is abstract reads and writes data sets."""
    place = str(checkout.resolve())
    sys.path.insert(0, place)
    try:
        with torch.random.fork_rng():  # it seeds torch
            baselines = importlib.import_module("src.baselines").Baselines
            return type("Loop", (baselines,), dict.fromkeys(baselines.__abstractmethods__, _nothing))(args)
    except (ImportError, OSError) as error:  # it runs a file by its path, too
        raise UsageError(
            f"{checkout} cannot be run: {error}. Clone {REPOSITORY} with --recurse-submodules and name that folder."
        ) from error
    finally:
        sys.path.remove(place)


def _nothing(*_: object) -> None:
    """What nobody asks for here."""


@contextmanager
def _stand_ins(device: torch.device) -> Iterator[None]:
    """Where there is no GPU: a timer for CUDA's events, and nothing for its streams; taken back afterwards."""
    found = {"Event": HostTimer, "current_stream": _nothing, "synchronize": _nothing}
    with ExitStack() as stack:
        for name, stand_in in found.items() if device.type == "cpu" else ():
            stack.callback(setattr, torch.cuda, name, getattr(torch.cuda, name))
            setattr(torch.cuda, name, stand_in)
        yield
