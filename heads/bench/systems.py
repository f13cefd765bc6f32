"""The ways to decode that are measured: ours, and what people would run otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from heads.cascade import Cascade
from heads.generation import Generation, LevelReport
from heads.head import AcceptancePredictionHead

COUNTS: Final = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
PLAIN: Final = "plain"
PEER: Final = "generate"
ASSISTED: Final = "assisted"
# What a model's own generation config may make of rows, which no other system is told to do.
UNCHANGED: Final[dict[str, object]] = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0} | dict.fromkeys(
    (
        *("min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        *("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias"),
        *("forced_bos_token_id", "forced_eos_token_id"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a text is drawn, the same for every system."""

    max_new_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One text by one system; `seconds` prefill included."""

    token_ids: list[int]
    seconds: float
    levels: tuple[LevelReport, ...]


class System(Protocol):
    """Something that continues a prompt as the target would."""

    mode: str
    settings: dict[str, Any]

    @property
    def models(self) -> tuple[str, ...]:
        """Smallest first."""
        ...

    def run(self, prompt: Sequence[int], sampling: Sampling, *, seed: int) -> Run:
        """One text; the same seed gives the same one."""
        ...


@dataclass(kw_only=True)
class CascadeSystem:
    """A cascade with options of `generate` that say how long it drafts."""

    mode: str
    cascade: Cascade
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """Smallest first."""
        return self.cascade.names

    def run(self, prompt: Sequence[int], sampling: Sampling, *, seed: int) -> Run:
        """See `System`."""
        out: Generation = self.cascade.generate(
            list(prompt),
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            seed=seed,
            **self.settings,
        )
        return Run(token_ids=out.token_ids, seconds=out.seconds, levels=out.levels)


@dataclass(kw_only=True)
class TransformersSystem:
    """transformers' own `generate`, alone or assisted by a smaller model, as it comes."""

    mode: str
    target: PreTrainedModel
    assistant: PreTrainedModel | None
    models: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, prompt: Sequence[int], sampling: Sampling, *, seed: int) -> Run:
        """See `System`. Forwards are counted where they happen; the library does not tell of acceptance."""
        ids = torch.tensor([list(prompt)], device=self.target.device)
        drawn: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k}
            drawn |= {"top_p": sampling.top_p, "min_p": sampling.min_p or None}
        used = [model for model in (self.assistant, self.target) if model is not None]
        counts, handles = _counted(used)
        try:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                _wait(self.target)
                started = time.perf_counter()
                out = self.target.generate(  # type: ignore[operator]
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=sampling.max_new_tokens,
                    pad_token_id=self.target.generation_config.pad_token_id or 0,
                    **({"assistant_model": self.assistant} if self.assistant is not None else {}),
                    **(UNCHANGED | drawn),
                )
                _wait(self.target)
                seconds = time.perf_counter() - started
        finally:
            for handle in handles:
                handle.remove()
        tokens = [int(token) for token in out[0, len(prompt) :]]
        levels = [
            LevelReport(model=name, forwards=count, proposed=None, accepted=None)
            for name, count in zip(self.models, counts(), strict=True)
        ]
        return Run(token_ids=tokens, seconds=seconds, levels=tuple(levels))


def _wait(model: PreTrainedModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _counted(models: Sequence[nn.Module]) -> tuple[Callable[[], list[int]], list[Any]]:
    """Counts the calls of each model; the handles take the counters off again."""
    calls = [0] * len(models)

    def counter(index: int) -> Callable[..., None]:
        def count(*_: object) -> None:
            calls[index] += 1

        return count

    handles = [model.register_forward_hook(counter(index)) for index, model in enumerate(models)]
    return lambda: list(calls), handles


def systems_of(
    cascade: Cascade,
    direct: AcceptancePredictionHead | None = None,
    *,
    options: Mapping[str, Any] | None = None,
) -> list[System]:
    """Every system that a loaded chain can be run as. Plain decoding is eager, whatever runs the chain.

    Args:
        cascade: The whole chain.
        direct: A head from its first model to its last, where there is one and models are between them.
        options: Of `generate`, for the modes in which heads advise: min_draft, max_draft, threshold.
    """
    advised = dict(options or {})
    models, names = cascade.models, cascade.names
    alone = cascade.part([len(models) - 1])
    eager = Cascade(models[-1:], None, cascade.tokenizer, names=names[-1:], engine="eager")
    found: list[System] = [CascadeSystem(mode=PLAIN, cascade=eager)]
    if alone.engines != eager.engines:
        found.append(CascadeSystem(mode=f"{PLAIN}:{alone.engines[0]}", cascade=alone))
    found.append(TransformersSystem(mode=PEER, target=models[-1], assistant=None, models=names[-1:]))
    if len(models) > 1:
        found.append(
            TransformersSystem(mode=ASSISTED, target=models[-1], assistant=models[-2], models=names[-2:])
        )
    places = range(len(models))
    parts = {COUNTS[count]: cascade.part(places[-count:]) for count in range(2, len(models) + 1)}
    if direct is not None and len(models) > 2:
        parts["direct"] = cascade.part([0, len(models) - 1], [direct])
    for name, part in parts.items():
        found.append(CascadeSystem(mode=f"{name}:heads", cascade=part, settings=advised))
        found.append(CascadeSystem(mode=f"{name}:tuned", cascade=part, settings={}))
        sure = {"schedule": "confidence"}
        found.append(CascadeSystem(mode=f"{name}:confidence", cascade=part, settings=sure))
        if len(part.models) > 2:
            settings = {**advised, "schedule": "top-head"}
            found.append(CascadeSystem(mode=f"{name}:top-head", cascade=part, settings=settings))
        found.append(
            CascadeSystem(
                mode=f"{name}:heuristic", cascade=part, settings={"schedule": "heuristic", "max_draft": 20}
            )
        )
        found.append(CascadeSystem(mode=f"{name}:fixed", cascade=part, settings={"schedule": "fixed"}))
    return found
