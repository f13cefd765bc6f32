"""N language models that decode as the last of them, faster: each proposes to the next."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from heads.anatomy import require_eval
from heads.configured import options_of
from heads.decoding import decode
from heads.edge import AcceptanceHead
from heads.endtokens import end_tokens_of
from heads.engines.captured import CapturedLevel
from heads.engines.choice import Engine, head_for, level_for, read_engine
from heads.engines.recorded_head import RecordedHead
from heads.engines.recording import as_loaded
from heads.fitting import (
    check_heads,
    check_length,
    check_models,
    check_places,
    listed,
    names_for,
    shared_vocabulary,
    tokenizer_size,
)
from heads.floor import Done, Floor
from heads.generation import Generation, report_of
from heads.head import AcceptancePredictionHead
from heads.law import adjustments_of, edges_of, rule_of
from heads.prompt import Prompt, prompt_ids
from heads.rounds import Rounds
from heads.settings import (
    MAX_DRAFT,
    MIN_DRAFT,
    THRESHOLD,
    PerEdgeFloat,
    PerEdgeInt,
    Settings,
    lengths_of,
    read_count,
    read_settings,
)
from heads.stopping import Ending
from heads.streaming import Stream, Streamer
from registry.errors import GenerationError


class Cascade:
    """A chain of causal LMs, smallest first, that decodes losslessly as the last of them.

    Sampling follows the last model's law; greedy decoding in float32 gives its tokens one for one. Weights may change
    between two texts, by training, loading or merging: what was recorded of them is then made anew. `torch.autocast`
    is heeded by eager models alone; what is recorded stays in the dtype that it was loaded in.

    Args:
        models: N >= 1 transformers causal LMs in eval mode, on any devices; one is plain decoding.
        heads: One per neighbouring pair; None where that pair drafts a fixed length, or for all pairs.
        tokenizer: The tokenizer all models share; without it prompts are token ids, and output layers that
            differ by 512 rows or less are cut to the narrowest.
        names: What reports call the models.
        engine: How the models are run: 'eager', 'captured' (graphs recorded over a cache of fixed size) or 'fused'
            (captured, of kernels that torch.compile makes); None is captured on a GPU and eager elsewhere.

    Attributes:
        ahead: Whether the lowest level drafts ahead of the host, as it does where the host would wait for it: not on a
            CPU. The law is the same, and so is a greedy text.

    Raises:
        IncompatibleError: a head, a vocabulary or a model's mode does not fit.
        RollbackError: a model's cache cannot be rolled back.
    """

    def __init__(
        self,
        models: Sequence[PreTrainedModel],
        heads: Sequence[AcceptancePredictionHead | None] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        names: Sequence[str] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.models = listed(models, "models")
        check_models(self.models)
        self.heads = listed(heads, "heads") if heads is not None else (None,) * (len(self.models) - 1)
        self.tokenizer = tokenizer
        self.names = names_for(self.models, names)
        check_heads(self.models, self.heads, self.names)
        self.vocab_size = shared_vocabulary(self.models, self.names, tokenizer_size(tokenizer))
        self._floor = Floor()
        asked = read_engine(engine)
        self._levels = [
            level_for(model, name=name, engine=asked, top=model is self.models[-1])
            for model, name in zip(self.models, self.names, strict=True)
        ]
        self._advisers = _advisers(self.heads, self.engines)
        self.ahead = _waits(self.models[0])

    def part(
        self, places: Sequence[int], heads: Sequence[AcceptancePredictionHead | None] | None = None
    ) -> Cascade:
        """Some of the models as a cascade of their own, over the same caches: one decodes at a time.

        Args:
            places: Of those models, ascending.
            heads: One per neighbouring pair of them; None takes the heads of neighbours that were neighbours.

        Raises:
            GenerationError: there are no models at these places.
            IncompatibleError: a head does not fit.
        """
        places = check_places(places, len(self.models))
        part = copy.copy(self)
        part.models = tuple(self.models[place] for place in places)
        part.names = tuple(self.names[place] for place in places)
        part._levels = [self._levels[place] for place in places]
        between = (self.heads[first] if second == first + 1 else None for first, second in pairwise(places))
        part.heads = tuple(between) if heads is None else listed(heads, "heads")
        check_heads(part.models, part.heads, part.names)
        part.vocab_size = shared_vocabulary(part.models, part.names, tokenizer_size(self.tokenizer))
        part._advisers = _advisers(part.heads, part.engines)
        part.ahead = _waits(part.models[0])
        return part

    def __repr__(self) -> str:
        """The chain, and what runs it."""
        engines = dict.fromkeys(self.engines)
        return f"Cascade({' -> '.join(self.names)}, {', '.join(engines)})"

    @property
    def engines(self) -> tuple[Engine, ...]:
        """What runs each model: that which was asked for, but captured where one cannot be fused.

        A model that cannot be recorded runs step by step over captured's cache, as captured; `refusals` says why.
        """
        return tuple(level.engine for level in self._levels)

    @property
    def refusals(self) -> dict[str, str]:
        """Model -> why it is not recorded as was asked, for those that are not."""
        told = {level.name: getattr(level, "refusal", None) for level in self._levels}
        return {name: why for name, why in told.items() if why is not None}

    def warm_up(
        self, positions: int, *, max_draft: PerEdgeInt = MAX_DRAFT, told: Callable[[], None] = lambda: None
    ) -> None:
        """Record ahead what a text of so many positions needs, prompt included; nothing for models run eagerly.

        Args:
            positions: Of the longest text.
            max_draft: As for `generate`.
            told: Called after each graph; `graphs_for` says how many there are.

        Raises:
            GenerationError: an option is out of range.
        """
        positions = read_count("positions", positions)
        most = lengths_of({"max_draft": max_draft}, edges=len(self.heads)).max_draft
        self._alone(lambda: self._warm_up(positions, most, told))

    def _warm_up(self, positions: int, most: Sequence[int], told: Callable[[], None]) -> None:
        for level, lengths in self._recorded(most):
            level.warm_up(positions, lengths, told=told)
        for index, adviser in enumerate(self._advisers):
            if isinstance(adviser, RecordedHead):
                adviser.warm_up(most[index - 1] + 1 if index else 1, self.models[index].dtype)

    def graphs_for(self, max_draft: PerEdgeInt = MAX_DRAFT) -> int:
        """How many graphs `warm_up` plays through."""
        return sum(len(level.padded(lengths)) for level, lengths in self._recorded(max_draft))

    def generate(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int = 0,
        shared_noise: bool = False,
        schedule: str = "heads",
        min_draft: PerEdgeInt = MIN_DRAFT,
        max_draft: PerEdgeInt = MAX_DRAFT,
        threshold: PerEdgeFloat = THRESHOLD,
        stop: str | Sequence[str] | None = None,
        eos_token_id: int | Sequence[int] | None = None,
        generation_config: GenerationConfig | None = None,
        streamer: Streamer | None = None,
    ) -> Generation:
        """Continue one prompt.

        Args:
            prompt: Text, encoded as `tokenizer(prompt)` does; chat messages, by the tokenizer's chat template; or
                token ids, a list, (T,) or (1, T). An empty one stands for the tokenizer's begin token.
            max_new_tokens: Exact, unless the text ends before. Default 64.
            temperature: 0 is greedy, the default; else sampling at this temperature, by top_k (0: all), top_p (1:
                all) and min_p (0: all), in this order.
            repetition_penalty: Above 1 makes what was said before, prompt included, less likely. Default 1.
            seed: The same seed gives the same tokens on one engine, one device and one number of threads. Others round
                otherwise, and a GPU, which drafts ahead, uses up other random numbers than a CPU, which waits. The
                global generators are not touched.
            shared_noise: Sample by noise that seed and position fix alone: the text is then the one that the last
                model alone draws with that seed, up to near ties, at the price of some acceptance.
            schedule: How long each level drafts: 'heads' (as they advise), 'fixed' (max_draft tokens), 'heuristic'
                (two more after full acceptance, one less otherwise), 'top-head' (fixed, but for the last edge), or
                'confidence' (as each model's own largest probabilities advise; no head is asked).
            min_draft, max_draft: Bounds on the tokens each level drafts a round; one value, or one per edge,
                smallest edge first.
            threshold: Drafting stops when 1 - survival exceeds it; 1 drafts max_draft tokens.
            stop: The text ends with the token that completes one of these strings; none begins in the prompt.
            eos_token_id: What ends the text; None takes it from the last model, else from the tokenizer; []
                is nothing.
            generation_config: Says what the options left out here are; a field that no option stands for is
                refused. The last model's own, which transformers would read, is not read, but for its end tokens:
                hand over `models[-1].generation_config` to decode as its makers recommend.
            streamer: A transformers streamer: the prompt, then each token as it is settled, then the end.

        Raises:
            GenerationError: an option or the prompt is out of range, or a model's logits are not finite.
        """
        ids = prompt_ids(prompt, self.tokenizer, vocab_size=self.vocab_size)
        options = {
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "stop": stop,
            "eos_token_id": eos_token_id,
        }
        given = {name: value for name, value in options.items() if value is not None}
        configured = (
            {}
            if generation_config is None
            else options_of(generation_config, prompt_tokens=len(ids), given=given)
        )
        asked = configured | given
        eos_token_id = asked.pop("eos_token_id", None)
        settings = read_settings(
            edges=len(self.heads),
            seed=seed,
            shared_noise=shared_noise,
            schedule=schedule,
            min_draft=min_draft,
            max_draft=max_draft,
            threshold=threshold,
            **asked,
        )
        check_length(self.models, self.names, prompt=len(ids), max_new_tokens=settings.max_new_tokens)
        ending = self._ending(settings, eos_token_id)
        for model, name in zip(self.models, self.names, strict=True):
            require_eval(model, name)
        # in this order: who has read a streamer's end may ask for the next text at once
        with Stream(streamer) as stream:
            return self._alone(lambda: self._run(ids, settings, ending, stream))

    def _alone(self, work: Callable[[], Done]) -> Done:
        """One text at a time, and what is recorded in the dtype that it was loaded in."""

        def as_recorded() -> Done:
            with ExitStack() as modes:
                for level in self._levels:
                    if isinstance(level, CapturedLevel):
                        modes.enter_context(as_loaded(level.model.device))
                return work()

        return self._floor.alone(as_recorded, afterwards=self._end)

    def _end(self) -> None:
        for level in self._levels:
            level.end()

    def _recorded(self, max_draft: PerEdgeInt) -> list[tuple[CapturedLevel, range]]:
        """Levels that record graphs, and the lengths of what they may be fed: proposals, and what others added."""
        most = lengths_of({"max_draft": max_draft}, edges=len(self.heads)).max_draft
        longest = (
            (most[index - 1] if index else 0) + len(most) + 1 - index for index in range(len(most) + 1)
        )
        return [
            (level, range(1, min(count, level.slack) + 1))  # longer ones are not recorded
            for level, count in zip(self._levels, longest, strict=True)
            if isinstance(level, CapturedLevel)
        ]

    @torch.inference_mode()
    def _run(self, ids: list[int], settings: Settings, ending: Ending, stream: Stream) -> Generation:
        stream.prompt(ids)
        for level in self._levels:
            level.begin(len(ids) + settings.max_new_tokens)
        for adviser in self._advisers:
            if isinstance(adviser, RecordedHead):
                adviser.begin()
        rounds = Rounds(
            levels=self._levels,
            edges=edges_of(settings, self._advisers),
            rule=rule_of(settings),
            prompt=ids,
            end_tokens=ending.end_tokens,
            vocab_size=self.vocab_size,
            adjustments=adjustments_of(settings),
            ahead=self.ahead,
        )
        started = time.perf_counter()
        tokens, reason = decode(rounds, ending, settings.max_new_tokens, stream.tokens)
        seconds = time.perf_counter() - started
        return Generation(
            token_ids=tokens,
            text=self._text(tokens),
            finish_reason=reason,
            seconds=seconds,
            prompt_tokens=len(ids),
            levels=tuple(map(report_of, self._levels, [*rounds.tallies, None])),
        )

    def _ending(self, settings: Settings, eos_token_id: object) -> Ending:
        if settings.stop and self.tokenizer is None:
            raise GenerationError(
                option="stop", expected="None, since this cascade has no tokenizer", found=list(settings.stop)
            )
        end_tokens = end_tokens_of(eos_token_id, self.models[-1], self.tokenizer)
        return Ending(end_tokens=end_tokens, stops=settings.stop, decoder=self.tokenizer)

    def _text(self, tokens: list[int]) -> str | None:
        if self.tokenizer is None:
            return None
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text if isinstance(text, str) else "".join(text)


def _advisers(
    heads: Sequence[AcceptancePredictionHead | None], engines: Sequence[Engine]
) -> list[AcceptanceHead | None]:
    return [head_for(head, engine) for head, engine in zip(heads, engines, strict=False)]


def _waits(model: PreTrainedModel) -> bool:
    """Whether the host waits when it reads a number of a model: then the lowest level drafts ahead of it."""
    return model.device.type != "cpu"
