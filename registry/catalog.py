"""Catalog files to a `Catalog` and back.

Several catalogs lie over each other: the built-in one, those of SPECREG_CATALOG, then the caller's. An
entry (a source, tokenizer or model by its name, a head by source, target and run) replaces the earlier
one whole, and may refer to names of the catalogs below. Loading reports every fault of every file at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.errors import CatalogError, CatalogFault
from registry.reading.faults import FaultList
from registry.reading.fields import SECTIONS
from registry.reading.layer import Layer, head_key
from registry.reading.references import KnownNames
from registry.reading.yaml_nodes import MAX_BYTES
from registry.reading.yaml_text import block, flow
from registry.records import Catalog

ENVIRONMENT = "SPECREG_CATALOG"

Paths = str | Path | Sequence[str | Path] | None


def load_catalog(extra: Paths = None, *, environ: Mapping[str, str] | None = None) -> Catalog:
    """The built-in catalog with those of SPECREG_CATALOG, then `extra`, laid over it in that order.

    Args:
        extra: One catalog file or several.
        environ: Where SPECREG_CATALOG is looked up; the process's environment when left out.

    Raises:
        CatalogError: a file is missing or unreadable, or entries break the schema; it holds every fault
            of every file.
    """
    known = KnownNames()
    catalog = Catalog.model_construct()
    faults: list[CatalogFault] = []
    for path, origin in _layers(extra, environ):
        listed = FaultList(str(path))
        data = _read_bytes(path, origin, listed)
        if data is not None:
            catalog = lay_over(catalog, Layer(listed, path.parent, known).read(data))
        faults.extend(listed.in_file_order())
    if faults:
        raise CatalogError(faults)
    return catalog


def parse_catalog(data: str | bytes, *, file: str, base: Path) -> Catalog:
    """One catalog by itself: it may refer to its own names only.

    Args:
        data: YAML text; bytes are UTF-8.
        file: What messages call it.
        base: The absolute folder that its relative paths start from.

    Raises:
        CatalogError: with every fault, in the order of the file.
    """
    faults = FaultList(file)
    catalog = Layer(faults, base, KnownNames()).read(data)
    if faults.count:
        raise CatalogError(faults.in_file_order())
    return catalog


def dump_catalog(catalog: Catalog) -> str:
    """The catalog as YAML text that `parse_catalog` reads back to an equal one, given the same base.

    The folders that relative paths start from are not written: the text belongs in the same folder.
    """
    lines = [f"version: {catalog.version}"]
    for section in SECTIONS:
        lines += block(section, {name: _values(entry) for name, entry in getattr(catalog, section).items()})
    if catalog.heads:
        lines += ["heads:", *(f"  - {flow(_values(head))}" for head in catalog.heads)]
    return "\n".join(lines) + "\n"


def lay_over(lower: Catalog, upper: Catalog) -> Catalog:
    """Both catalogs in one; where they name the same entry, that of `upper`."""
    heads = {head_key(head): head for head in (*lower.heads, *upper.heads)}
    return Catalog.model_construct(
        sources={**lower.sources, **upper.sources},
        tokenizers={**lower.tokenizers, **upper.tokenizers},
        models={**lower.models, **upper.models},
        heads=tuple(heads.values()),
    )


def builtin_catalog_path() -> Path:
    """The catalog that comes with specreg: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).absolute().parent
    beside = package.parent / "catalog.yaml"
    packaged = package / "catalog.yaml"
    return beside if beside.exists() and not packaged.exists() else packaged


def builtin_lock_path() -> Path:
    """The lock of the built-in catalog; the file may not exist."""
    return lock_path_of(builtin_catalog_path())


def lock_path_of(catalog_file: Path) -> Path:
    """The lock that belongs to a catalog file: `mine.yaml` has `mine.lock` beside it."""
    return catalog_file.with_suffix(".lock")


def lock_paths(extra: Paths = None, *, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """The lock of every catalog that `load_catalog` reads, in the same order; files may not exist."""
    return tuple(lock_path_of(path) for path, _ in _layers(extra, environ))


def own_files(extra: Paths = None, *, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """The catalog files that `load_catalog` lays over the built-in one, as they were named, in the same order."""
    environ = os.environ if environ is None else environ
    named = [part for part in environ.get(ENVIRONMENT, "").split(os.pathsep) if part.strip()]
    given = [extra] if isinstance(extra, str | Path) else list(extra or ())
    return tuple(Path(part).expanduser() for part in (*named, *given))


def _layers(extra: Paths, environ: Mapping[str, str] | None) -> list[tuple[Path, str]]:
    """Absolute path and origin of every catalog file, the lowest first."""
    environ = os.environ if environ is None else environ
    named = [part for part in environ.get(ENVIRONMENT, "").split(os.pathsep) if part.strip()]
    given = [extra] if isinstance(extra, str | Path) else list(extra or ())
    return [
        (builtin_catalog_path(), "the built-in catalog is gone: install specreg again"),
        *(
            (_absolute(part), f"{ENVIRONMENT} names it: mend the path, or unset the variable")
            for part in named
        ),
        *((_absolute(part), "check the path that was given") for part in given),
    ]


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - absolute() keeps '..' parts


def _read_bytes(path: Path, next_step: str, faults: FaultList) -> bytes | None:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        faults.add(None, "", f"there is no such file; {next_step}")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        faults.add(None, "", f"cannot be read: {reason}; {next_step}")
    return None


def _values(record: Any) -> dict[str, Any]:
    values: dict[str, Any] = record.model_dump(
        mode="python", by_alias=True, exclude_none=True, exclude={"alias"}
    )
    if not values.get("aliases", True):
        del values["aliases"]
    return values
