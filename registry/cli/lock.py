"""`specreg lock`: record what a catalog's own checkpoints are."""

from __future__ import annotations

from pathlib import Path

import click

from registry.cli.options import as_json
from registry.cli.printing import print_json


@click.command(epilog="Example: specreg lock my-heads.yaml")
@click.argument("file", type=click.Path(path_type=Path), metavar="CATALOG")
@click.option("--check", is_flag=True, help="Write nothing; end with 1 when the lock and the files differ.")
@as_json
def lock(file: Path, check: bool, as_json: bool) -> None:
    """Write size and sha256 of every file of the heads and models that CATALOG keeps in folders.

    They go into the .lock file of its name beside it, sorted, one line a file, ready for review. Nothing is loaded that
    has no record: run this once after you add a head of your own, and whenever you change one on purpose.
    """
    from registry.recording import record_catalog, write_recording

    recording = record_catalog(file)
    if not check:
        write_recording(recording)
    if as_json:
        print_json(
            {
                "lock": str(recording.lock_path),
                "recorded": list(recording.recorded),
                "changed": list(recording.changed),
                "written": not check,
            }
        )
    else:
        for name in recording.changed:
            click.echo(f"{name}: {'differs from the lock' if check else 'recorded'}")
        count = len(recording.recorded)
        click.echo(f"{count} checkpoints, {len(recording.changed)} changed: {recording.lock_path}")
    raise click.exceptions.Exit(1 if check and recording.changed else 0)
