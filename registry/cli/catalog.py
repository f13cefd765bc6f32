"""`specreg catalog`: check a catalog file, and edit it in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.options import as_json
from registry.cli.printing import print_json

if TYPE_CHECKING:
    from registry.editing.draft import Draft

SECTION_OF = {"head": "heads", "model": "models", "source": "sources", "tokenizer": "tokenizers"}
KIND = click.Choice(list(SECTION_OF))


@click.group(epilog="Example: specreg catalog check my-heads.yaml")
def catalog() -> None:
    """Check a catalog file of your own, and edit it in place.

    Comments, order and quoting stay as they are. An edit that would make the file fail to load, together with the
    catalogs below it, is refused with every fault, and the file is left alone.
    """


@catalog.group(epilog="Example: specreg catalog add source mine --path ./heads --file my.yaml")
def add() -> None:
    """Add a source, model, tokenizer or head to a catalog file."""


def with_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--file FILE`: which catalog is edited."""
    return click.option(
        "--file",
        "file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The catalog file to edit; by default the last of SPECREG_CATALOG. `add` creates it if it is not there.",
    )(command)


def with_place(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--hub`, `--revision`, `--package` and `--path`: where the files are."""
    for option in (
        click.option(
            "--path", metavar="FOLDER", help="A folder, relative to the catalog file, or in the package."
        ),
        click.option("--package", metavar="NAME", help="A Python package that holds the files."),
        click.option("--revision", metavar="REVISION", help="Branch, tag or commit of the Hub repository."),
        click.option("--hub", metavar="OWNER/NAME", help="A Hub repository."),
    ):
        command = option(command)
    return command


@add.command("source", epilog="Example: specreg catalog add source mine --path ./heads --file my.yaml")
@click.argument("name")
@with_place
@with_file
@as_json
def add_source(name: str, file: Path | None, as_json: bool, **place: str | None) -> None:
    """Add the source NAME: where checkpoints come from."""
    _edit(file, as_json, "source", name, lambda draft: draft.add_entries("sources", {name: _given(place)}))


@add.command("tokenizer", epilog="Example: specreg catalog add tokenizer mine --vocab-size 32000")
@click.argument("name")
@click.option(
    "--vocab-size", type=int, metavar="N", help="The tokenizer's own size, padding rows not counted."
)
@click.option("--fingerprint", metavar="TEXT", help="Fingerprint of the tokenizer, when known.")
@with_file
@as_json
def add_tokenizer(name: str, file: Path | None, as_json: bool, **facts: Any) -> None:
    """Add the tokenizer NAME, which several models may share."""
    _edit(
        file, as_json, "tokenizer", name, lambda draft: draft.add_entries("tokenizers", {name: _given(facts)})
    )


@add.command(
    "model",
    epilog="Example: specreg catalog add model mine --hub me/little --file my.yaml",
)
@click.argument("alias")
@with_place
@click.option("--hidden-size", type=int, metavar="N", help="Width of the last hidden state.")
@click.option("--vocab-size", type=int, metavar="N", help="Rows of the output layer, padding included.")
@click.option("--tokenizer", metavar="NAME", help="A name in `tokenizers`.")
@click.option("--parameters", type=int, metavar="N", help="Number of parameters, tied ones counted once.")
@click.option("--license", metavar="ID", help="License identifier as the Hub writes it.")
@click.option("--gated/--not-gated", default=None, help="Whether the Hub asks for consent before a download.")
@click.option("--alias", "aliases", multiple=True, metavar="NAME", help="Another name; may be repeated.")
@with_file
@as_json
def add_model(alias: str, file: Path | None, as_json: bool, **facts: Any) -> None:
    """Add the model ALIAS. Every fact may be left out."""
    _edit(file, as_json, "model", alias, lambda draft: draft.add_entries("models", {alias: _given(facts)}))


@add.command(
    "head",
    epilog="Example: specreg catalog add head mine qwen3-14b --run r --from mine",
)
@click.argument("source")
@click.argument("target")
@click.option("--run", required=True, metavar="NAME", help="Name of the training run.")
@click.option("--from", "from_", required=True, metavar="NAME", help="A name in `sources`.")
@click.option(
    "--path", metavar="FOLDER", help="Folder in its source, where it is not SOURCE--to--TARGET/RUN."
)
@with_file
@as_json
def add_head(
    source: str, target: str, run: str, from_: str, path: str | None, file: Path | None, as_json: bool
) -> None:
    """Add a head from SOURCE to TARGET, models that a catalog knows by any of their names."""
    from registry.editing.edits import aliases_with

    ends = aliases_with(_chosen(file), (source, target))
    values = _given({"source": ends[0], "target": ends[1], "run": run, "from": from_, "path": path})
    name = f"{ends[0]}--to--{ends[1]}/{run}"
    _edit(file, as_json, "head", name, lambda draft: draft.add_heads([values]))


@catalog.command(
    "remove",
    short_help="Remove a head, model, source or tokenizer.",
    epilog="Example: specreg catalog remove head mine--to--qwen3-14b",
)
@click.argument("kind", type=KIND)
@click.argument("name")
@with_file
@as_json
def remove(kind: str, name: str, file: Path | None, as_json: bool) -> None:
    """Remove a head, model, source or tokenizer from a catalog file, unless another entry names it."""

    def change(draft: Draft) -> str | None:
        if kind == "head":
            return draft.remove_head(name)
        draft.remove_entry(SECTION_OF[kind], name)
        return None

    _edit(file, as_json, kind, name, change, done="removed")


@catalog.command(
    "set",
    short_help="Change one value of an entry.",
    epilog="Example: specreg catalog set mine hidden_size 768",
)
@click.argument("name")
@click.argument("key")
@click.argument("value")
@click.option("--in", "kind", type=KIND, help="What NAME is, where several things are called that.")
@with_file
@as_json
def set_(name: str, key: str, value: str, kind: str | None, file: Path | None, as_json: bool) -> None:
    """Give KEY of the head, model, source or tokenizer NAME another VALUE.

    A list is written with commas, or in []; a key inside another with a dot: calibration.scale.
    """
    section = SECTION_OF[kind] if kind else None
    said = {"kind": ""}

    def change(draft: Draft) -> str:
        where, full = draft.set_value(name, key, value, section=section)
        said["kind"] = where.removesuffix("s")
        return full

    _edit(file, as_json, said, name, change, done="changed", more={"key": key, "value": value})


@catalog.command(
    "check",
    short_help="Check FILE and its lock; print every fault.",
    epilog="Example: specreg catalog check my-heads.yaml",
)
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def check(file: Path, as_json: bool) -> None:
    """Read FILE and the lock beside it strictly, with the catalogs below; print every fault.

    Ends with 1 when there is one, with 2 when there is no such file.
    """
    from registry.editing.edits import faults_of

    faults = faults_of(file)
    if as_json:
        rows = [
            {"file": one.file, "line": one.line, "path": one.path, "problem": one.problem} for one in faults
        ]
        print_json({"ok": not faults, "faults": rows})
    else:
        for one in faults:
            click.echo(str(one))
        count = len(faults)
        click.echo(f"{file}: {f'{count} faults' if count != 1 else '1 fault'}" if count else f"{file}: sound")
    raise click.exceptions.Exit(1 if faults else 0)


def _chosen(file: Path | None) -> Path:
    from registry.editing.edits import catalog_to_edit

    return catalog_to_edit(file)


def _given(facts: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in facts.items()
        if value is not None and value != ()
    }


def _edit(
    file: Path | None,
    as_json: bool,
    kind: str | dict[str, str],
    name: str,
    change: Callable[[Draft], str | None],
    *,
    done: str = "added",
    more: dict[str, str] | None = None,
) -> None:
    """Carry an edit out and print it: what was done, kind, name, file."""
    from registry.editing.edits import edit_catalog

    chosen = _chosen(file)
    full = {"name": name}

    def carry_out(draft: Draft) -> None:
        full["name"] = change(draft) or name

    edit_catalog(chosen, carry_out, create=done == "added" and file is not None)
    told = kind if isinstance(kind, str) else kind["kind"]
    document = {"done": done, "kind": told, **full, **(more or {}), "file": str(chosen)}
    if as_json:
        print_json(document)
    else:
        click.echo("\t".join(document.values()))
