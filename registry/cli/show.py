"""`specreg show`: one model or head, with all that is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from registry.cli.here import CHECK_FACTS, check_facts, here
from registry.cli.list import short_count
from registry.cli.options import as_json, with_catalog
from registry.cli.printing import print_facts, print_json, print_table
from registry.records import HEAD_SEPARATOR

EVALUATION = "evaluation.json"
TRAINER_STATE = "trainer_state.json"


@click.command(epilog="Example: specreg show pico-little--to--pico-draft")
@click.argument("name")
@with_catalog
@as_json
def show(name: str, catalog: tuple[Path, ...], as_json: bool) -> None:
    """Show the model or head called NAME: facts, files, training record, evaluation.

    A head is named SOURCE--to--TARGET, or SOURCE--to--TARGET/RUN for one of several runs.
    """
    from registry.names import find_heads, find_model
    from registry.shelf import Shelf
    from registry.store.view import LastChecks

    shelf = Shelf.open(catalog)
    checks = LastChecks.read()
    if HEAD_SEPARATOR in name:
        documents = [_head_document(shelf, head, checks) for head in find_heads(shelf.catalog, name)]
        kind = "heads"
    else:
        documents = [_model_document(shelf, find_model(shelf.catalog, name), checks)]
        kind = "models"
    if as_json:
        print_json({kind: documents})
        return
    for position, document in enumerate(documents):
        if position:
            click.echo()
        _print(document)


def _model_document(shelf: Any, model: Any, checks: Any) -> dict[str, Any]:
    place = shelf.model_place(model)
    heads = shelf.catalog.heads
    return {
        "model": model.alias,
        **model.model_dump(exclude={"alias"}, exclude_none=True),
        "heads_from_here": [head.name for head in heads if head.source == model.alias],
        "heads_to_here": [head.name for head in heads if head.target == model.alias],
        **_on_disk(place, shelf.lock.models.get(model.alias), checks.of("model", model.alias, place)),
    }


def _head_document(shelf: Any, head: Any, checks: Any) -> dict[str, Any]:
    from registry.runs import parse_run_name
    from registry.training import parse_trainer_state

    place = shelf.head_place(head)
    facts = parse_run_name(head.run)
    training = head.training.model_dump(exclude_none=True) if head.training else None
    state = place.folder / TRAINER_STATE if place.folder else None
    if state is not None and state.is_file():
        training = (
            parse_trainer_state(state.read_bytes(), file=str(state)).summary().model_dump(exclude_none=True)
        )
    return {
        "head": head.name,
        "source": head.source,
        "target": head.target,
        "run": head.run,
        "from": head.from_,
        "mismatch_weight": facts.mismatch_weight,
        "layers": facts.layers,
        "training": training,
        **_on_disk(place, shelf.lock.heads.get(head.name), checks.of("head", head.name, place)),
    }


def _on_disk(place: Any, entry: Any, check: Any) -> dict[str, Any]:
    """Folder, last verification, files and evaluation, as far as they are here or recorded."""
    folder: Path | None = place.folder
    recorded = entry.files if entry else {}
    here = (
        {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
        if folder
        else {}
    )
    files = [
        {
            "path": name,
            "size_bytes": recorded[name].size_bytes if name in recorded else here[name],
            "sha256": recorded[name].sha256 if name in recorded else None,
            "installed": name in here,
        }
        for name in sorted({*recorded, *here})
    ]
    evaluation = None
    if folder is not None and (folder / EVALUATION).is_file():
        evaluation = json.loads((folder / EVALUATION).read_bytes())
    return {
        "installed": folder is not None,
        **check_facts(check),
        "path": None if folder is None else str(folder),
        "commit": entry.commit if entry else None,
        "files": files,
        "evaluation": evaluation,
    }


def _print(document: Mapping[str, Any]) -> None:
    plain = {
        key: value
        for key, value in document.items()
        if key not in ("files", "evaluation", "training", "parameters", *CHECK_FACTS)
    }
    plain["installed"] = here(document) or "no"
    if "parameters" in document:
        plain["parameters"] = f"{short_count(document['parameters'])} ({document['parameters']})"
    print_facts([(key.replace("_", " "), _flat(value)) for key, value in plain.items()])
    for part in ("training", "evaluation"):
        if document.get(part):
            click.echo(f"\n{part}")
            print_facts(
                [(f"  {key.replace('_', ' ')}", _flat(value)) for key, value in _leaves(document[part])]
            )
    if document["files"]:
        click.echo()
        print_table(
            ("file", "bytes", "sha256", "here"),
            [
                (
                    row["path"],
                    row["size_bytes"],
                    row["sha256"] or "not recorded",
                    "yes" if row["installed"] else "",
                )
                for row in document["files"]
            ],
        )


def _leaves(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested facts as ('corpus library_bytes', 123) pairs."""
    found: list[tuple[str, Any]] = []
    for key, value in document.items():
        name = f"{prefix}{key}"
        found.extend(_leaves(value, f"{name} ") if isinstance(value, Mapping) else [(name, value)])
    return found


def _flat(value: Any) -> str | None:
    if value is None or value in ((), []):
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
