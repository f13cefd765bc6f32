"""The commands that take in what a source holds now, or take out what it has no more: they run as they are printed.

Which they are hangs on the file that names a head. A file of the user's is edited, or its lock moved. The built-in
catalog is not edited: a head of it that has changed gets an entry in a file of the user's, which lies over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.catalog import builtin_catalog_path
from registry.command import Catalogs, command
from registry.editing.ownpart import own_part
from registry.records import Catalog, Head

if TYPE_CHECKING:
    from registry.editing.discovering import SourceReport

MINE: Final = "mine.yaml"  # where the user has no catalog yet, or several

Step = tuple[str, str]
"""What a command does, in two words, and the command; or a word, and why there is none."""


def steps(report: SourceReport, catalog: Catalog, files: Sequence[Path], given: Catalogs) -> Iterator[Step]:
    """What takes in the news of one source.

    Args:
        report: What was found there.
        catalog: All catalogs in one.
        files: Those of the user's, as they were named; the later ones lie over the earlier.
        given: Those of them that commands are given by --catalog.
    """
    source = catalog.sources[report.source]
    if report.of("new"):
        # A lone catalog that was given is the one meant, unless the source may be of the built-in one.
        lone = len(given) == 1 and source.base not in (None, builtin_catalog_path().parent)
        into = ("--into", str(given[0]) if lone else MINE, "--source-name", report.source)
        revision = ("--revision", source.revision) if source.revision else ()
        yield "take in", command("import", report.where, *revision, *into)
    named = _naming_files(catalog, files)
    heads = {head.name: head for head in catalog.heads}
    changed = [heads[one.head] for one in report.of("changed")]
    for file in dict.fromkeys(named[head.name] for head in changed if head.name in named):
        moved = [head.name for head in changed if named.get(head.name) == file]
        yield "take in", command("lock", str(file), "--upgrade", *moved)
    builtin = [head for head in changed if head.name not in named]
    if builtin:
        for step in _laid_over(builtin, str(files[0]) if len(files) == 1 else MINE, files, given):
            yield "take in", step
    gone = [one.head for one in report.of("gone")]
    for name in gone:
        if name in named:
            yield "take out", command("catalog", "remove", "head", name, "--file", str(named[name]))
    if any(name not in named for name in gone):
        yield "stays", "the built-in catalog is not edited: it lists what is gone until its next version"


def _laid_over(heads: Sequence[Head], file: str, files: Sequence[Path], given: Catalogs) -> Iterator[str]:
    """An entry of the user's own for each head, its record as the source stands now, and its files."""
    for head in heads:
        inside = () if head.path is None else ("--path", head.path)
        words = (head.source, head.target, "--run", head.run, "--from", head.from_, *inside)
        yield command("catalog", "add", "head", *words, "--file", file)
    names = [head.name for head in heads]
    yield command("lock", file, *names)
    read_anyway = Path(file) in files and file not in map(str, given)  # by SPECREG_CATALOG
    yield command("download", *names, catalogs=given if read_anyway else [*given, file])


def _naming_files(catalog: Catalog, files: Sequence[Path]) -> Mapping[str, Path]:
    """Of each head, by name, the file of the user's whose entry counts; heads of the built-in catalog are left out."""
    return {head.name: file for file in files for head in own_part(catalog, file).heads}
