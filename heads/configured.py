"""A transformers GenerationConfig as options of `generate`: what it asks for is done, or refused by name."""

from __future__ import annotations

from typing import Any, Final

from transformers import GenerationConfig

from registry.errors import GenerationError

# What transformers fills in when sampling and nobody says otherwise.
SAMPLED: Final[dict[str, float | int]] = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0}
# Fields that say nothing of the text: bookkeeping, caches, what is returned, and how transformers speculates.
SILENT: Final = frozenset(
    {
        "use_cache",
        "cache_implementation",
        "cache_config",
        "max_cache_len",
        "pad_token_id",
        "bos_token_id",
        "decoder_start_token_id",
        "return_dict_in_generate",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "output_logits",
        "remove_invalid_values",
        "renormalize_logits",
        "early_stopping",
        "length_penalty",
        "is_assistant",
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
# Values that leave the text alone.
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


def options_of(config: GenerationConfig, *, prompt_tokens: int) -> dict[str, Any]:
    """Options of `Cascade.generate` that the config sets; it samples only where `do_sample` says so.

    Raises:
        GenerationError: it asks for something else: beams, constraints, a processor that is not built here.
    """
    given = {name: value for name, value in config.to_dict().items() if value is not None}
    for name, value in given.items():
        known = name in DONE or name in SILENT or name.startswith("_") or name == "transformers_version"
        if not known and value not in NEUTRAL.get(name, ()):
            raise GenerationError(
                option=f"generation_config.{name}",
                expected="nothing, since a cascade does not do that",
                found=value,
                next_step="Leave it out, or decode with the model's own generate.",
            )
    options: dict[str, Any] = {"temperature": 0.0}
    if given.get("do_sample"):
        options = {name: given.get(name, usual) for name, usual in SAMPLED.items()}
    if "repetition_penalty" in given:
        options["repetition_penalty"] = given["repetition_penalty"]
    if "max_new_tokens" in given:
        options["max_new_tokens"] = given["max_new_tokens"]
    elif "max_length" in given:
        options["max_new_tokens"] = given["max_length"] - prompt_tokens
    if "stop_strings" in given:
        options["stop"] = given["stop_strings"]
    if "eos_token_id" in given:
        options["eos_token_id"] = given["eos_token_id"]
    return options
