"""`specreg chain`: the chain between two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from registry.cli.options import as_json, with_catalog, with_narrowing
from registry.cli.printing import print_json, print_table, shown_status


@click.command(
    short_help="Show the chain between two models, and whether it fits.",
    epilog="Example: specreg chain qwen3-0.6b qwen3-14b",
)
@click.argument("source")
@click.argument("target")
@click.option("--all", "every", is_flag=True, help="List every chain, best first.")
@with_narrowing
@with_catalog
@as_json
def chain(
    source: str,
    target: str,
    every: bool,
    length: int | None,
    via: tuple[str, ...],
    run: str | None,
    catalog: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Show the chain from SOURCE to TARGET: its roles, its heads, and every compatibility check.

    Of several chains it takes one of three models (little, draft, target) if there is one, else the shortest. Nothing
    is downloaded; a check that needs files that are not here is 'unknown'.
    """
    from registry.chains import candidates, resolve
    from registry.names import find_model
    from registry.pipeline import Pipeline
    from registry.shelf import Shelf

    shelf = Shelf.open(catalog)
    first, last = find_model(shelf.catalog, source), find_model(shelf.catalog, target)
    if first.alias == last.alias:
        raise click.UsageError(
            f"A chain joins two models, and both names are {first.alias}. "
            f"`specreg decode {first.alias} {first.alias}` decodes with the model alone."
        )
    narrowing: dict[str, Any] = {"length": length, "via": via or None, "run": run, "facts": shelf.edge_facts}
    if every:
        found = candidates(shelf.catalog, source, target, **narrowing)
        pipelines = [Pipeline(one, shelf) for one in found.chains]
        _print_all(pipelines, found, as_json=as_json)
        return
    pipeline = Pipeline(resolve(shelf.catalog, source, target, **narrowing), shelf)
    if as_json:
        print_json(chain_document(pipeline))
        return
    _print_one(pipeline)


def chain_document(pipeline: Any) -> dict[str, object]:
    """A pipeline as `chain --json` prints it."""
    document: dict[str, object] = {
        "models": list(pipeline.models),
        "roles": pipeline.roles,
        "heads": [
            {
                "source": head.source,
                "target": head.target,
                "run": head.run,
                "installed": head.installed,
                "path": None if head.path is None else str(head.path),
            }
            for head in pipeline.heads
        ],
    }
    if len(pipeline.heads) > 1:
        document["small_draft_acc_head_path"] = _text(pipeline.small_draft_acc_head_path)
    document["draft_target_acc_head_path"] = _text(pipeline.draft_target_acc_head_path)
    document["findings"] = [finding.model_dump() for finding in pipeline.findings]
    document["compatible"] = pipeline.chain.compatible
    return document


def _print_one(pipeline: Any) -> None:
    click.echo(" -> ".join(pipeline.models))
    click.echo()
    print_table(("role", "model"), list(pipeline.roles.items()))
    click.echo()
    print_table(
        ("head", "on this machine"),
        [(head.name, head.path if head.installed else "no") for head in pipeline.heads],
    )
    click.echo()
    print_table(
        ("check", "status", "subject", "detail"),
        [
            (finding.check, shown_status(finding.status), finding.subject, finding.detail)
            for finding in pipeline.findings
        ],
    )


def _print_all(pipelines: list[Any], found: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "chains": [chain_document(pipeline) for pipeline in pipelines],
                "left_off": found.left_off,
                "complete": found.complete,
            }
        )
        return
    print_table(
        ("models", "chain", "runs", "checks"),
        [
            (
                len(pipeline.models),
                " -> ".join(pipeline.models),
                ", ".join(head.run for head in pipeline.heads),
                _checks(pipeline),
            )
            for pipeline in pipelines
        ],
    )
    if found.left_off or not found.complete:
        count = f"{found.left_off} more" if found.complete else f"At least {found.left_off} more"
        click.echo(f"{count} were left off; narrow with --length, --via or --run.", err=True)


def _checks(pipeline: Any) -> str:
    statuses = [finding.status for finding in pipeline.findings]
    return ", ".join(
        f"{statuses.count(status)} {status}" for status in ("pass", "unknown", "fail") if status in statuses
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
