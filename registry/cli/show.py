"""`specreg show`: one model or head, with all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from registry.cli.here import CHECK_FACTS, check_facts, here
from registry.cli.list import short_count
from registry.cli.options import as_json, with_catalog
from registry.cli.printing import print_facts, print_json, print_table
from registry.records import HEAD_SEPARATOR

if TYPE_CHECKING:
    from registry.places import Place
    from registry.records import LockEntry

EVALUATION: Final = "evaluation.json"
TRAINER_STATE: Final = "trainer_state.json"
MAX_EVALUATION_BYTES: Final = 1 << 20


@click.command(
    short_help="Show everything known about one model or head.",
    epilog="Example: specreg show pico-little--to--pico-draft",
)
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
    entry = shelf.lock.models.get(model.alias)
    heads = shelf.catalog.heads
    return {
        "model": model.alias,
        **model.model_dump(exclude={"alias"}, exclude_none=True),
        "heads_from_here": [head.name for head in heads if head.source == model.alias],
        "heads_to_here": [head.name for head in heads if head.target == model.alias],
        **_on_disk(place, entry, checks.of("model", model.alias, place)),
        "evaluation": _told_by(EVALUATION, _evaluation, place, entry, name=model.alias),
    }


def _head_document(shelf: Any, head: Any, checks: Any) -> dict[str, Any]:
    from registry.runs import parse_run_name

    place, entry = shelf.head_place(head), shelf.lock.heads.get(head.name)
    facts = parse_run_name(head.run)
    training = head.training.model_dump(exclude_none=True) if head.training else None
    if training is None or _is_recorded(TRAINER_STATE, entry):  # the file wins where it is verified
        training = _told_by(TRAINER_STATE, _trainer_state, place, entry, name=head.name) or training
    return {
        "head": head.name,
        "source": head.source,
        "target": head.target,
        "run": head.run,
        "from": head.from_,
        "mismatch_weight": facts.mismatch_weight,
        "layers": facts.layers,
        "training": training,
        **_on_disk(place, entry, checks.of("head", head.name, place)),
        "evaluation": _told_by(EVALUATION, _evaluation, place, entry, name=head.name),
    }


def _on_disk(place: Any, entry: Any, check: Any) -> dict[str, Any]:
    """Folder, last verification and files, as far as they are here or recorded."""
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
    return {
        "installed": folder is not None,
        **check_facts(check),
        "recorded": entry is not None,
        "path": None if folder is None else str(folder),
        "commit": entry.commit if entry else None,
        "files": files,
    }


def _is_recorded(file: str, entry: LockEntry | None) -> bool:
    return entry is not None and file in entry.files


def _told_by(
    file: str,
    read: Callable[[Path, LockEntry | None, str], dict[str, Any]],
    place: Place,
    entry: LockEntry | None,
    *,
    name: str,
) -> dict[str, Any] | None:
    """What an optional file says; None where it is not here, or is at fault, which a note on stderr tells."""
    from registry.errors import CheckpointError

    if place.folder is None or not (place.folder / file).exists():
        return None
    try:
        return read(place.folder, entry, name)
    except CheckpointError as error:
        problem = error.problems[0] if error.problems else str(error)
        click.echo(
            f"specreg: {file} of {name} is not shown: {problem}. Nothing else needs it; "
            "`specreg verify` checks every file.",
            err=True,
        )
        return None


def _trainer_state(folder: Path, entry: LockEntry | None, name: str) -> dict[str, Any]:
    from registry.training import MAX_BYTES, parse_trainer_state

    content = _content(TRAINER_STATE, folder, entry, name, MAX_BYTES)
    state = parse_trainer_state(content, file=str(folder / TRAINER_STATE))
    return state.summary().model_dump(exclude_none=True)


def _evaluation(folder: Path, entry: LockEntry | None, name: str) -> dict[str, Any]:
    from registry.files.jsonfile import parse_object

    content = _content(EVALUATION, folder, entry, name, MAX_EVALUATION_BYTES)
    return parse_object(content, folder / EVALUATION, next_step="")


def _content(file: str, folder: Path, entry: LockEntry | None, name: str, max_bytes: int) -> bytes:
    """The bytes of one file, which are those of its record where it has one."""
    from registry.files.folder import CheckpointFolder
    from registry.files.manifest import read_recorded, refusal

    checkpoint = CheckpointFolder(folder)
    if entry is not None and file in entry.files:
        return read_recorded(checkpoint, entry.files[file], file, subject=name, max_bytes=max_bytes)
    try:
        with checkpoint.open(file) as stream:
            if stream.size_bytes > max_bytes:
                problem = f"{stream.size_bytes} bytes, at most {max_bytes} are read"
                raise refusal(checkpoint, name, file, problem)
            return stream.read_all()
    except OSError as error:
        raise refusal(checkpoint, name, file, error.strerror or str(error)) from error


def _print(document: Mapping[str, Any]) -> None:
    plain = {
        key: value
        for key, value in document.items()
        if key not in ("files", "evaluation", "training", "parameters", "recorded", *CHECK_FACTS)
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
