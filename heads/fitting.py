"""Whether models, heads and a tokenizer fit together, judged before the first token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from numbers import Integral
from typing import Any, Final, TypeVar

from torch import nn
from transformers import PreTrainedModel

from heads.anatomy import hidden_size, max_positions, output_rows, rope_switch
from heads.head import AcceptancePredictionHead
from registry.errors import GenerationError, IncompatibleError

Given = TypeVar("Given")
MAX_PADDING_ROWS: Final = 512  # how much two output layers over one vocabulary may differ by padding alone


def listed(given: Iterable[Given], what: str) -> tuple[Given, ...]:
    """All of what was given as a list. Raises IncompatibleError: it is none, but one thing alone, or its name."""
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping):
        raise IncompatibleError(
            subject="this cascade",
            field=what,
            expected="a list of them",
            found=type(given).__name__,
            next_step=f"Give {what}=[...], also for one alone.",
        )
    return tuple(given)


def check_models(models: Sequence[object]) -> None:
    """At least one, each a loaded causal LM. Raises IncompatibleError."""
    if not models:
        raise IncompatibleError(
            subject="this cascade",
            field="number of models",
            expected="at least 1",
            found=0,
            next_step="Give models=[...].",
        )
    for place, model in enumerate(models):
        config = getattr(model, "config", None)
        # what cannot generate, a classifier or a head, has no generation config
        if not (
            isinstance(model, nn.Module)
            and hasattr(config, "get_text_config")
            and hasattr(model, "generation_config")
        ):
            raise IncompatibleError(
                subject=f"models[{place}]",
                field="type",
                expected="a causal LM of transformers, loaded",
                found=type(model).__name__,
                next_step="Load it by AutoModelForCausalLM.from_pretrained.",
            )


def names_for(models: Sequence[PreTrainedModel], names: Sequence[str] | None) -> tuple[str, ...]:
    """What reports call the models: as was said, else as they were loaded, else by their kind.

    Raises:
        IncompatibleError: there are more names than models, or fewer.
    """
    if names is None:
        return tuple(
            str(getattr(model.config, "_name_or_path", "") or type(model).__name__) for model in models
        )
    given = tuple(map(str, listed(names, "names")))
    if len(given) != len(models):
        raise IncompatibleError(
            subject="this cascade",
            field="number of names",
            expected=len(models),
            found=len(given),
            next_step="Give one name per model.",
        )
    return given


def check_heads(
    models: Sequence[PreTrainedModel], heads: Sequence[AcceptancePredictionHead | None], names: Sequence[str]
) -> None:
    """One head, or None, per neighbouring pair; each reads the hidden states of its source.

    Raises:
        IncompatibleError: their number or a width does not fit.
    """
    if len(heads) != len(models) - 1:
        raise IncompatibleError(
            subject=" -> ".join(names),
            field="number of heads",
            expected=len(models) - 1,
            found=len(heads),
            next_step="Give one head, or None, per neighbouring pair of models.",
        )
    for model, head, name, above in zip(models, heads, names, names[1:], strict=False):
        if head is not None and not isinstance(head, AcceptancePredictionHead):
            raise IncompatibleError(
                subject=f"the head {name} -> {above}",
                field="type",
                expected="an AcceptancePredictionHead, or None",
                found=type(head).__name__,
                next_step="Load it by AcceptancePredictionHead.from_pretrained.",
            )
        if head is not None and head.hidden_size != hidden_size(model):
            raise IncompatibleError(
                subject=f"the head {name} -> {above}",
                field="hidden_size",
                expected=hidden_size(model),
                found=head.hidden_size,
                next_step=f"Use a head that was trained on {name}.",
            )


def check_places(places: Sequence[object], count: int) -> tuple[int, ...]:
    """Places of some of so many models, ascending: a level has one cache, and drafts for those after it.

    Raises:
        GenerationError: they are none, or no such places.
    """
    try:
        given: tuple[Any, ...] = tuple(places)
    except TypeError:  # no list of anything
        given = ()
    whole = all(isinstance(place, Integral) and not isinstance(place, bool) for place in given)
    ascending = tuple(sorted({int(place) for place in given if 0 <= place < count})) if whole else ()
    if not given or ascending != given:
        raise GenerationError(
            option="places",
            expected=f"some of the models' places, 0 to {count - 1}, ascending, each once",
            found=places,
        )
    return ascending


def tokenizer_size(tokenizer: object) -> int | None:
    """How many tokens it knows, special ones included; None of none. Raises IncompatibleError: it is no tokenizer."""
    if tokenizer is None:
        return None
    loaded = callable(tokenizer) and not isinstance(tokenizer, type)
    if not (loaded and isinstance(tokenizer, Sized) and hasattr(tokenizer, "decode")):
        raise IncompatibleError(
            subject="this cascade",
            field="tokenizer",
            expected="a tokenizer of transformers, loaded, or None",
            found=type(tokenizer).__name__,
            next_step="Load it by AutoTokenizer.from_pretrained.",
        )
    return len(tokenizer)


def shared_vocabulary(
    models: Sequence[PreTrainedModel], names: Sequence[str], tokenizer_size: int | None
) -> int:
    """How many token ids, from 0 on, all models share; rows past them are padding.

    Output layers of different widths are one vocabulary when the tokenizer's own size is within all of them,
    or, where no tokenizer is given, when they differ by 512 rows or less. Models of one width share it; a
    tokenizer that is smaller cuts the padding off.

    Raises:
        IncompatibleError: they are different vocabularies.
    """
    widths = [output_rows(model) for model in models]
    least, most = min(widths), max(widths)
    narrow = names[widths.index(least)]
    if tokenizer_size is not None and least < tokenizer_size and least != most:
        raise IncompatibleError(
            subject=narrow,
            field="vocabulary",
            expected=f"a row for each of the tokenizer's {tokenizer_size} tokens",
            found=f"{least} rows",
            next_step="Choose models that share one tokenizer.",
        )
    if tokenizer_size is None and most - least > MAX_PADDING_ROWS:
        raise IncompatibleError(
            subject=narrow,
            field="vocabulary",
            expected=f"the {most} rows of {names[widths.index(most)]}, or at most {MAX_PADDING_ROWS} fewer",
            found=f"{least} rows",
            next_step="Choose models that share one tokenizer, or give the tokenizer they share.",
        )
    return least if tokenizer_size is None else min(least, tokenizer_size)


def check_length(
    models: Sequence[PreTrainedModel], names: Sequence[str], *, prompt: int, max_new_tokens: int
) -> None:
    """The prompt and all new tokens lie within what every model was made for.

    Raises:
        GenerationError: they do not.
    """
    for model, name in zip(models, names, strict=True):
        bound = max_positions(model)
        if bound is not None and prompt >= bound:
            raise GenerationError(
                option="the prompt",
                expected=f"at most {bound - 1} tokens, since {name} has {bound} positions",
                found=prompt,
                next_step="Shorten the prompt.",
            )
        if bound is not None and prompt + max_new_tokens > bound:
            raise GenerationError(
                option="max_new_tokens",
                expected=f"at most {bound - prompt} after {prompt} prompt tokens, "
                f"since {name} has {bound} positions",
                found=max_new_tokens,
                next_step="Ask for fewer tokens or shorten the prompt.",
            )
        switch = rope_switch(model)
        if switch is not None and prompt <= switch < prompt + max_new_tokens:
            raise GenerationError(
                option="max_new_tokens",
                expected=f"at most {switch - prompt} after {prompt} prompt tokens, since {name} reads "
                f"positions anew past {switch} and tokens cannot be taken back across that",
                found=max_new_tokens,
                next_step="Ask for fewer tokens, or give a longer prompt.",
            )
