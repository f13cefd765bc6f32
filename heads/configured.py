"""A transformers GenerationConfig as options of `generate`: what it asks for is done, or refused by name.

A field stands in one of three lists, or is refused whatever it says: a field that is new in transformers is so, too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from transformers import GenerationConfig
from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS

from heads.settings import read_flag
from registry.errors import GenerationError

# What transformers fills in when sampling and nobody says otherwise.
SAMPLED: Final[dict[str, float | int]] = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0}
# Fields that say nothing of the text: bookkeeping, how transformers keeps a cache and speculates, what is for batches,
# beams or encoders alone. Invalid values are no text here, but an error, so there are none to remove.
SILENT: Final = frozenset(
    {
        "use_cache",
        "cache_config",
        "max_cache_len",
        "pad_token_id",
        "bos_token_id",
        "decoder_start_token_id",
        "return_dict_in_generate",
        "remove_invalid_values",
        "renormalize_logits",
        "early_stopping",
        "length_penalty",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_lookbehind",
        "target_lookbehind",
        "max_matching_ngram_size",
        "speculation_type",
        "use_mtp",
        "compile_config",
        "disable_compile",
        "continuous_batching_config",
        "low_memory",
        "prefill_chunk_size",
    }
)
# Values that leave the text, and what is given back, alone.
NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "num_return_sequences": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "diversity_penalty": (0.0,),
    "encoder_repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "guidance_scale": (1.0,),
    "penalty_alpha": (0.0,),
    "token_healing": (False,),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "is_assistant": (False,),
    "output_attentions": (False,),
    "output_hidden_states": (False,),
    "output_scores": (False,),
    "output_logits": (False,),
    # every cache of exact keys and values gives one text; a quantized one another
    "cache_implementation": (*(kind for kind in ALL_CACHE_IMPLEMENTATIONS if kind != "quantized"), "paged"),
}
DONE: Final = frozenset(
    {
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "max_new_tokens",
        "max_length",
        "eos_token_id",
        "stop_strings",
    }
)


def options_of(
    config: GenerationConfig, *, prompt_tokens: int, given: Collection[str] = ()
) -> dict[str, Any]:
    """Options of `Cascade.generate` that the config sets; it samples only where `do_sample` says so.

    Options that are `given` by name are not asked of the config: a max_length that they overrule may be too short.

    Raises:
        GenerationError: it asks for something else: beams, constraints, a processor that is not built here.
    """
    if not isinstance(config, GenerationConfig):
        raise GenerationError(
            option="generation_config",
            expected="a GenerationConfig of transformers",
            found=config,
            next_step="GenerationConfig(**fields) makes one of a dict.",
        )
    said = {name: value for name, value in config.to_dict().items() if value is not None}
    for name, value in said.items():
        _require_known(name, value)
    # a temperature given by name may yet sample: then these are its bounds
    options: dict[str, Any] = {name: said[name] for name in ("top_k", "top_p", "min_p") if name in said}
    options["temperature"] = 0.0
    if read_flag("generation_config.do_sample", said.get("do_sample", False)):
        options = {name: said.get(name, usual) for name, usual in SAMPLED.items()}
    if "repetition_penalty" in said:
        options["repetition_penalty"] = said["repetition_penalty"]
    if "max_new_tokens" in said:
        options["max_new_tokens"] = said["max_new_tokens"]
    elif "max_length" in said and "max_new_tokens" not in given:
        options["max_new_tokens"] = _length(said["max_length"], prompt_tokens) - prompt_tokens
    if "stop_strings" in said:
        options["stop"] = said["stop_strings"]
    if "eos_token_id" in said:
        options["eos_token_id"] = said["eos_token_id"]
    return options


def _require_known(name: str, value: object) -> None:
    known = name in DONE or name in SILENT or name.startswith("_") or name == "transformers_version"
    if not known and not any(_are_same(value, one) for one in NEUTRAL.get(name, ())):
        raise GenerationError(
            option=f"generation_config.{name}",
            expected="left out, since a cascade does not do that",
            found=value,
            next_step="Decode with the model's own generate where you need it.",
        )


def _are_same(value: object, neutral: object) -> bool:
    """Compared where they are of one kind alone: an array answers by another array."""
    numbers = isinstance(value, int | float) and isinstance(neutral, int | float)
    return (numbers or isinstance(value, type(neutral))) and bool(value == neutral)


def _length(value: object, prompt_tokens: int) -> int:
    if type(value) is not int or value <= prompt_tokens:
        raise GenerationError(
            option="generation_config.max_length",
            expected=f"an integer above the {prompt_tokens} tokens of the prompt, which it counts, too",
            found=value,
        )
    return value
