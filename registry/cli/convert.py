"""`specreg convert`: heads stored as pickles, made into safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from registry.cli.options import as_json, with_catalog
from registry.cli.printing import print_json
from registry.records import HEAD_SEPARATOR

Convert = Callable[..., Any]


@click.command(
    short_help="Convert pickled heads to safetensors, in a sandbox.",
    epilog="Example: specreg convert my-heads/a--to--b --out converted/a--to--b",
)
@click.argument("names", nargs=-1, required=True, metavar="HEAD|FOLDER...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the result goes, for one head: a folder that is not there yet, or empty. Default: specreg's own home.",
)
@with_catalog
@as_json
def convert(names: tuple[str, ...], out: Path | None, catalog: tuple[Path, ...], as_json: bool) -> None:
    """Make safetensors of heads stored as pickles (pytorch_model.bin).

    A pickle is opened only in a process of its own, which has little memory and time and can open no file; what it
    returns is compared tensor by tensor with what was in the pickle. The pickle stays as it is. A head that was
    converted before is left alone, and a line says so. `decode` converts what it needs by itself.
    """
    from registry.shelf import Shelf

    shelf = Shelf.open(catalog)
    todo = [(name, found) for given in names for name, found in _found(shelf, given)]
    if out is not None and len(todo) != 1:
        raise click.UsageError(
            f"--out takes one head, got {len(todo)}: {', '.join(name for name, _ in todo)}."
        )
    documents = []
    with _Converters() as converters:
        for name, found in todo:
            document = _document(name, _one(shelf, found, out, converters))
            documents.append(document)
            if not as_json:
                _print(document)
    if as_json:
        print_json({"conversions": documents})


class _Converters:
    """The functions of heads and one sandbox for all, loaded when the first pickle needs them."""

    def __init__(self) -> None:
        self._sandbox: Any = None

    def __enter__(self) -> _Converters:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._sandbox is not None:
            self._sandbox.close()

    def open(self) -> tuple[Convert, Convert, dict[str, Any]]:
        """convert_head, convert_folder and what both are to be given."""
        from heads.convert import convert_folder, convert_head
        from heads.sandbox import Sandbox

        if self._sandbox is None:
            self._sandbox = Sandbox()
        return convert_head, convert_folder, {"sandbox": self._sandbox, "say": _whisper}


def _found(shelf: Any, given: str) -> list[tuple[str, Any]]:
    """The heads of the catalog that a name calls, or else the folder it is."""
    from registry.errors import UnknownNameError
    from registry.names import find_heads

    if HEAD_SEPARATOR in given:
        try:
            return [(head.name, head) for head in find_heads(shelf.catalog, given)]
        except UnknownNameError:
            if not Path(given).is_dir():
                raise
    return [(given, Path(given))]


def _one(shelf: Any, found: Any, out: Path | None, converters: _Converters) -> Any:
    """The conversion; None where the head is stored as safetensors."""
    from registry.headsight import PICKLE, WEIGHTS

    folder = found if isinstance(found, Path) else shelf.head_place(found).installed(found.name)
    if (folder / WEIGHTS).exists() and not (isinstance(found, Path) and (folder / PICKLE).exists()):
        return None
    if out is None and not isinstance(found, Path):
        known = _known(shelf, found)
        if known is not None:
            return known
    convert_head, convert_folder, options = converters.open()
    if isinstance(found, Path):
        return convert_folder(found, out, **options)
    return convert_head(shelf, found, out, **options)


def _known(shelf: Any, head: Any) -> Any:
    """A sound conversion from before, found without loading torch."""
    from registry.converted import find_conversion
    from registry.errors import CheckpointError
    from registry.headsight import PICKLE

    entry = shelf.lock.heads.get(head.name)
    record = entry.files.get(PICKLE) if entry is not None else None
    try:
        return find_conversion(record.sha256) if record is not None else None
    except CheckpointError:  # it is made again, and that is said
        return None


def _document(name: str, conversion: Any) -> dict[str, object]:
    if conversion is None:
        return {"name": name, "status": "safetensors", "folder": None}
    return {
        "name": name,
        "status": "converted" if conversion.fresh else "already converted",
        "folder": str(conversion.folder),
        **conversion.record.model_dump(mode="json"),
    }


def _print(document: dict[str, Any]) -> None:
    name, status = document["name"], document["status"]
    if status == "safetensors":
        click.echo(f"{name}\tstored as safetensors: nothing to convert")
    else:
        click.echo(f"{name}\t{status}\t{document['folder']}")


def _whisper(line: str) -> None:
    click.echo(f"specreg: {line}", err=True)
