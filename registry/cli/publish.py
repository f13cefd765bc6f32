"""`specreg publish`: a head of this machine into a repository of the Hub."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.options import as_json, with_catalog, with_timeout
from registry.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from registry.publication import Publication

COLUMNS = ("status", "path", "bytes", "sha256")


@click.command(
    short_help="Send a head to a Hub repository.",
    epilog="Example: specreg publish pico-little--to--pico-draft --repo me/x --dry-run",
)
@click.argument("name", metavar="HEAD")
@click.option("--repo", required=True, metavar="ORG/NAME", help="The Hub repository.")
@click.option("--pull-request", is_flag=True, help="Open a pull request; main stays as it is.")
@click.option("--message", metavar="TEXT", help="First line of the commit; by default it names the head.")
@click.option(
    "--license",
    "license_id",
    default="mit",
    show_default=True,
    metavar="ID",
    help="The license that cards made here state.",
)
@click.option("--replace", is_flag=True, help="Replace different files of the same run that are there.")
@click.option("--create", is_flag=True, help="Create the repository if there is none.")
@click.option("--private", is_flag=True, help="With --create: a private repository.")
@click.option("--dry-run", is_flag=True, help="Show files, sizes and card, and send no request.")
@with_timeout
@with_catalog
@as_json
def publish(
    *,
    name: str,
    repo: str,
    pull_request: bool,
    message: str | None,
    license_id: str,
    replace: bool,
    create: bool,
    private: bool,
    dry_run: bool,
    timeout_s: float,
    catalog: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Send HEAD to a Hub repository, as SOURCE--to--TARGET/RUN, in one commit.

    It is verified first, and exactly the verified bytes are sent: config.json, model.safetensors, trainer_state.json,
    evaluation.json and calibration.json, as far as its record has them, and its card (README.md), which is written
    where the record has none. A repository without a card gets one. A head that is there with the same bytes is left
    alone, and a line says so. The last line is the address of the commit.
    """
    from registry.publication import find_head, prepare
    from registry.shelf import Shelf

    _require_options(repo, message, license_id, create=create, private=private)
    shelf = Shelf.open(catalog)
    publication = prepare(shelf, find_head(shelf, name), repo=repo, license_id=license_id)
    for left in publication.left_out:
        click.echo(f"specreg: left out: {left} is no file of a published head", err=True)
    if dry_run:
        _rehearse(publication, repo, as_json=as_json)
        return
    from registry.hub.publishing import publish

    if sys.stderr.isatty():
        size_bytes = sum(map(len, publication.files.values()))
        click.echo(f"specreg: {len(publication.files)} files, {size_bytes:,} bytes, for {repo}", err=True)
    done = publish(
        publication,
        repo,
        message=message,
        pull_request=pull_request,
        replace=replace,
        create=create,
        private=private,
        timeout_s=timeout_s,
    )
    for note in done.notes:
        click.echo(f"specreg: {note}", err=True)
    if as_json:
        print_json(done.to_json())
        return
    print_table(COLUMNS, [(file.status, file.path, file.size_bytes, file.sha256) for file in done.files])
    if done.created:
        click.echo(f"created\t{done.repo}")
    click.echo(f"{done.status}\t{done.head}\t{done.commit}")
    click.echo(done.url)


def _require_options(repo: str, message: str | None, license_id: str, *, create: bool, private: bool) -> None:
    from registry.reading.fields import REPO

    if not REPO.accepts(repo):
        raise click.BadParameter(f"expected {REPO.expected}, got {ascii(repo)[:120]}.", param_hint="--repo")
    if private and not create:
        raise click.UsageError("--private says how --create makes a repository: give both, or neither.")
    if message is not None and not message.strip():
        raise click.BadParameter("expected a line of text, got none.", param_hint="--message")
    if not license_id.strip():
        raise click.BadParameter(
            "expected an identifier as the Hub writes it, got none.", param_hint="--license"
        )


def _rehearse(publication: Publication, repo: str, *, as_json: bool) -> None:
    """Tell what would be sent."""
    files = [
        (f"{publication.folder}/{name}", len(content), publication.sha256(name))
        for name, content in publication.files.items()
    ]
    if as_json:
        print_json(_rehearsal(publication, repo, files))
        return
    print_table(COLUMNS, [("would send", *file) for file in files])
    size_bytes = sum(size for _, size, _ in files)
    click.echo(
        f"{len(files)} files, {size_bytes} bytes, for {repo}; a README.md at its top where it has none\n"
    )
    click.echo(publication.card, nl=False)


def _rehearsal(publication: Publication, repo: str, files: Sequence[tuple[str, int, str]]) -> dict[str, Any]:
    return {
        "dry_run": True,
        "head": publication.folder,
        "repo": repo,
        "files": [
            {"path": path, "size_bytes": size, "sha256": sha256, "status": "would send"}
            for path, size, sha256 in files
        ],
        "bytes": sum(size for _, size, _ in files),
        "left_out": list(publication.left_out),
        "card": publication.card,
    }
