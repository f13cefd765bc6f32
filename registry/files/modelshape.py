"""What a base model's config.json implies of its tensors, as far as that can be told without torch.

The token embedding and the output layer have a row per id and a column per hidden number; the layers are
numbered from 0 up without a gap. Names are those transformers stores; where none of them is known, nothing is
judged. What is stored in another unit (quantised weights, factorised embeddings) is not judged either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from registry.records import Status

EMBEDDINGS: Final = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
OUTPUTS: Final = ("lm_head.weight", "embed_out.weight")
OTHER_WIDTHS: Final = ("word_embed_proj_dim", "embedding_size", "quantization_config")

_LAYER: Final = re.compile(
    r"(?:model\.|transformer\.|gpt_neox\.|language_model\.|decoder\.|text_model\.)*(?:layers|h)\.(\d{1,6})\."
)
_PREFIX: Final = re.compile(
    r"(?:(?:model|transformer|gpt_neox|language_model|decoder|text_model)\.)*[a-z_]+\.weight"
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What of a config.json says how large a model is; None is what it does not say.

    `plain` is False where the file says that tensors are stored in another unit than these sizes.
    """

    hidden_size: int | None = None
    vocab_size: int | None = None
    layers: int | None = None
    extra_layers: bool = False
    plain: bool = True


def model_config(sizes: Mapping[str, int], content: Mapping[str, Any]) -> ModelConfig:
    """The sizes that were checked already, and what else of the file tells how to read them.

    Older models call their sizes n_embd and n_layer.
    """
    return ModelConfig(
        hidden_size=sizes.get("hidden_size", _count(content.get("n_embd"))),
        vocab_size=sizes.get("vocab_size"),
        layers=sizes.get("num_hidden_layers", _count(content.get("n_layer"))),
        extra_layers=bool(content.get("num_nextn_predict_layers")),
        plain=not any(content.get(key) is not None for key in OTHER_WIDTHS),
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def judge_shapes(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Status, str]:
    """Whether tensors (name -> shape, of all shards) are those that the config implies."""
    if not config.plain:
        return "unknown", "config.json says that weights are stored in another form than its sizes tell"
    problems, agreed = _matrix_verdicts(config, shapes)
    layer_problem, layers = _layer_verdict(config, shapes)
    problems += [layer_problem] if layer_problem else []
    agreed += [layers] if layers else []
    if problems:
        return "fail", "; ".join(problems)
    if not agreed:
        return (
            "unknown",
            "no tensor whose name tells what it is, or no size in config.json to hold it against",
        )
    return "pass", "; ".join(agreed)


def _matrix_verdicts(
    config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[str], list[str]]:
    expected = (config.vocab_size, config.hidden_size)
    problems, agreed = [], []
    for name in sorted(shapes):
        if not name.endswith((*EMBEDDINGS, *OUTPUTS)) or not _PREFIX.fullmatch(name):
            continue
        found = shapes[name]
        sound = len(found) == 2 and all(
            size in (None, got) for size, got in zip(expected, found, strict=True)
        )
        if sound and expected != (None, None):
            agreed.append(f"{name} {list(found)}")
        elif not sound:
            told = ["any" if size is None else size for size in expected]
            problems.append(f"{name}: expected [vocab_size, hidden_size] {told}, got {list(found)}")
    return problems, agreed


def _layer_verdict(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str]:
    """What is wrong with the layers, and what is right; both empty where nothing can be told."""
    found = {int(match.group(1)) for name in shapes if (match := _LAYER.match(name))}
    if config.layers is None or not found:
        return "", ""
    missing = sorted(set(range(config.layers)) - found)
    more = sorted(number for number in found if number >= config.layers)
    if missing:
        return f"layers: expected {config.layers}, got {len(found)}; layer {missing[0]} is missing", ""
    if more and not config.extra_layers:
        return f"layers: expected {config.layers}, got {len(found)}; layer {more[0]} is one too many", ""
    return "", f"{config.layers} layers"
