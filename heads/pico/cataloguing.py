"""A catalog for a family that is not the embedded one: its models and heads, by their folders beside it."""

from __future__ import annotations

import json
from pathlib import Path

from heads.pico.recipe import RUN, Recipe


def write_catalog(recipe: Recipe, out: Path) -> Path:
    """Write `catalog.yaml` into the family's folder."""
    configs = {name: json.loads((out / name / "config.json").read_text()) for name in recipe.models}
    document = {
        "version": 1,
        "sources": {recipe.family: {"path": "."}},
        "tokenizers": {recipe.family: {"vocab_size": configs[recipe.models[0]]["vocab_size"]}},
        "models": {
            name: {
                "path": name,
                "hidden_size": config["hidden_size"],
                "vocab_size": config["vocab_size"],
                "tokenizer": recipe.family,
            }
            for name, config in configs.items()
        },
        "heads": [
            {"source": source, "target": target, "run": RUN, "from": recipe.family}
            for source, target in recipe.edges
        ],
    }
    path = out / "catalog.yaml"
    path.write_text(json.dumps(document, indent=2) + "\n")  # which is YAML
    return path
