"""`specreg lock`: record what a catalog's own checkpoints are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from registry.cli.options import as_json, with_timeout
from registry.cli.printing import print_json


@click.command(
    short_help="Record commit, size and sha256 of the files of a catalog.",
    epilog="Example: specreg lock my-heads.yaml",
)
@click.argument("file", type=click.Path(path_type=Path), metavar="CATALOG")
@click.argument("names", nargs=-1, metavar="[HEAD]...")
@click.option("--check", is_flag=True, help="Write nothing; end with 1 when lock and files differ.")
@click.option(
    "--upgrade", is_flag=True, help="Pin heads on the Hub to the commit that their revision points to now."
)
@click.option("--models", is_flag=True, help="Record base models on the Hub as well.")
@click.option(
    "--local", is_flag=True, help="Record only what is in folders and packages; the Hub is not asked."
)
@with_timeout
@as_json
def lock(
    *,
    file: Path,
    names: tuple[str, ...],
    check: bool,
    upgrade: bool,
    models: bool,
    local: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Record the commit, and the size and sha256 of every file, of the heads and models in CATALOG.

    The record is the .lock file beside CATALOG, sorted, one line a file, ready for review. Nothing without a record is
    loaded: run this after you add a head, and whenever you change one on purpose. A commit once recorded stays until
    --upgrade moves it. Where its branch has moved on since, a line says so, and --check calls it no difference, unless
    the commit is no longer in the history of that branch. --check also looks at the base models on the Hub that are in
    the lock. HEAD limits the command to the heads and models named. Ends with 2, and writes nothing, when one of them
    cannot be read, lacks config.json or weights, or has a damaged safetensors file, or when the Hub has no such
    revision.
    """
    from registry.recording import record_catalog, write_recording

    if local and upgrade:
        raise click.UsageError("--upgrade asks the Hub, and --local forbids it: leave one of them out.")
    recording = record_catalog(
        file,
        names=names,
        models=models,
        local=local,
        upgrade=upgrade,
        held=check,
        damaged=check,
        timeout_s=timeout_s,
    )
    if not check:
        write_recording(recording)
    if as_json:
        print_json(_document(recording, written=not check))
    else:
        for one in recording.changed:
            _print(one, check=check)
        for one in recording.moved:
            _print_moved(one, strayed=one in recording.strayed)
        count = len(recording.recorded)
        noun = "checkpoint" if count == 1 else "checkpoints"
        click.echo(f"{count} {noun}, {len(recording.changed)} changed: {recording.lock_path}")
    raise click.exceptions.Exit(1 if check and (recording.changed or recording.strayed) else 0)


def _document(recording: Any, *, written: bool) -> dict[str, Any]:
    return {
        "lock": str(recording.lock_path),
        "recorded": list(recording.recorded),
        "changed": [one.name for one in recording.changed],
        "changes": [
            {
                "kind": one.kind,
                "name": one.name,
                "commit_before": one.before.commit if one.before else None,
                "commit": one.now.commit if one.now else None,
                "files": [{"path": file.path, "status": file.status} for file in one.files],
            }
            for one in recording.changed
        ],
        "moved": [
            {
                "kind": one.kind,
                "name": one.name,
                "revision": one.moved.revision,
                "commit": one.now.commit,
                "stands_at": one.moved.commit,
            }
            for one in recording.moved
        ],
        "strayed": [one.name for one in recording.strayed],
        "written": written,
    }


def _print(one: Any, *, check: bool) -> None:
    """`NAME: what`, then old and new commit where it moved, then a line a file: status, tab, path."""
    if one.now is None:
        what = "in the lock, no longer in the catalog" if check else "dropped: no longer in the catalog"
    elif check:
        what = "differs from the lock" if one.before else "not in the lock"
    else:
        what = "recorded"
    click.echo(f"{one.name}: {what}")
    before, now = (entry.commit if entry else None for entry in (one.before, one.now))
    if one.now is not None and before != now:
        click.echo(f"commit\t{one.name}\t{before or '-'}\t{now or '-'}")
    if one.before is not None and one.now is not None:
        for file in one.files:
            click.echo(f"{file.status}\t{one.name}/{file.path}")


def _print_moved(one: Any, *, strayed: bool) -> None:
    """One line a checkpoint: its revision stands elsewhere, its commit in the lock does not."""
    where = f"{one.moved.revision} stands at {one.moved.commit} now"
    if strayed:
        click.echo(
            f"{one.name}: {one.now.commit} is not in the history of {one.moved.revision} any more: history was "
            f"rewritten, or it is of another branch; {where}; --upgrade moves it"
        )
    else:
        click.echo(f"{one.name}: {where}, the lock keeps {one.now.commit}; --upgrade moves it")
