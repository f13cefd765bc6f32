"""The card of a head, and that of a repository of heads: Markdown under YAML front matter.

A card is made from what is known and nothing else: no clock, no machine, so that the same head gives the same
bytes. Names and figures come from files that others wrote: they are quoted in the YAML and escaped in the Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from registry.markdown import (
    fenced,
    hub_link,
    python_text,
    shell_word,
    shown_figure,
    shown_name,
    shown_number,
    table,
    yaml_scalar,
)
from registry.records import Calibration, Head, Model, Outlook
from registry.runs import parse_run_name
from registry.training import TrainingRecord

LIBRARY: Final = "specreg"
TAGS: Final = ("speculative-decoding", "acceptance-prediction-head", "specreg")
PAPER: Final = "[SpecDec++](https://arxiv.org/abs/2405.19715)"
PLACEHOLDER: Final = "OWNER/NAME"
_PLACEHOLDER_NOTE: Final = f" (`{PLACEHOLDER}` is the repository that this folder lies in)"
CATALOG_FILE: Final = "taken-in.yaml"
DEEPEST: Final = 8
WAYS: Final = ("greedy", "sampled")

_SUMMARY_LABELS: Final = {
    "steps": "steps",
    "epochs": "epochs",
    "final_loss": "loss, last row of the log",
    "final_kl": "KL in nats, last batch",
    "final_eval_loss": "evaluation loss, last",
    "final_eval_kl": "evaluation KL in nats, last",
    "best_eval_loss": "evaluation loss, best",
    "best_eval_kl": "evaluation KL in nats, best",
    "best_step": "best step",
}
_EVALUATION_LABELS: Final = {
    "positions": "held-out positions",
    "base_rate": "mean acceptance of these",
    "auc": "AUC",
    "baselines.max_probability.auc": "AUC of the source's largest probability, without a head",
    "baselines.entropy.auc": "AUC of the source's entropy, without a head",
    "brier": "Brier score",
    "ece": "expected calibration error of the raw numbers",
    "ece_calibrated": "expected calibration error, calibrated",
    "ece_unweighted": "expected calibration error, the weight on rejection taken out",
}


def head_card(
    *,
    source: Model,
    target: Model,
    head: Head,
    config: Mapping[str, int],
    training: TrainingRecord | None,
    evaluation: Mapping[str, object] | None,
    calibration: Calibration | None,
    license: str = "mit",  # noqa: A002 - the Hub's own word
    repo: str | None = None,
) -> str:
    """The README.md of one head's folder.

    Args:
        source, target: The catalog's entries of the two models.
        head: The head.
        config: What its config.json says: hidden_size and num_layers.
        training: Its trainer_state.json; None leaves the section out, as for the next two.
        evaluation: Figures on held-out text, nested as evaluation.json holds them.
        calibration: Scale and bias on the logit of acceptance.
        license: Identifier as the Hub writes it.
        repo: The Hub repository it lies in; a placeholder stands in the commands when None.
    """
    own: dict[str, str | int] = {"source": head.source, "target": head.target, "run": head.run}
    own |= {key: config[key] for key in ("hidden_size", "num_layers") if key in config}
    what = (
        f"A small residual MLP for speculative decoding with two models ({PAPER}). It reads the last hidden state of "
        f"{shown_name(head.source)} and estimates whether {shown_name(head.target)} will accept the token that "
        f"{shown_name(head.source)} drafted. It points one way, and serves these two models only."
    )
    sections = [
        _front_matter(license, [source, target], own),
        f"# Acceptance prediction head {shown_name(head.name)}",
        what,
        _models([("source", source), ("target", target)]),
        table("Head", ("property", "value"), _head_rows(head, config)),
        table("Training", ("figure", "value"), _training_rows(training)),
        table("Evaluation", ("figure", "value"), _evaluation_rows(evaluation or {})),
        _calibration(calibration),
        _use(repo, head),
        f"## License\n\n{shown_name(license)}, for the head. The models that it joins have licenses of their own.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def repository_card(
    *,
    repo: str,
    heads: Sequence[tuple[Head, Model, Model]],
    license: str = "mit",  # noqa: A002 - as above
) -> str:
    """The README.md at the top of a repository of heads.

    Args:
        repo: The Hub repository.
        heads: Each head with its source and its target.
        license: Identifier as the Hub writes it.
    """
    models = [model for _, *ends in heads for model in ends]
    rows = [
        (shown_name(head.name), hub_link(source.alias, source.hub), hub_link(target.alias, target.hub))
        for head, source, target in heads
    ]
    example = heads[0][0] if heads else None
    what = (
        "Each folder `SOURCE--to--TARGET/RUN` holds one head: a small residual MLP that reads the source model's last "
        f"hidden state and estimates whether the target model will accept the source's token ({PAPER}). "
        "Its own README.md tells its figures. Folders that came later may not be listed here."
    )
    sections = [
        _front_matter(license, models, {}),
        "# Acceptance prediction heads",
        what,
        table("Heads", ("head", "source", "target"), rows),
        _use(repo, example),
        f"## License\n\n{shown_name(license)}, for the heads. The models that they join have licenses of their own.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def addressed(card: str, repo: str) -> str:
    """A head's card that was made without a repository, as it would have been made for this one; others unchanged."""
    before, note, after = card.partition(_PLACEHOLDER_NOTE)
    command = f"specreg import {{}} --into {CATALOG_FILE}"
    return before + (
        after.replace(command.format(PLACEHOLDER), command.format(shell_word(repo)), 1) if note else ""
    )


def metadata(license_id: str, models: Iterable[Model]) -> str:
    """The YAML that a repository's README.md needs between its two `---`, for whoever writes their own."""
    return _front_matter(license_id, models, {}).removeprefix("---\n").removesuffix("\n---")


def _front_matter(license_id: str, models: Iterable[Model], own: Mapping[str, str | int]) -> str:
    base_models = list(dict.fromkeys(model.hub for model in models if model.hub is not None))
    lines = ["---", f"license: {yaml_scalar(license_id)}", f"library_name: {LIBRARY}"]
    if base_models:
        lines += ["base_model:", *(f"- {yaml_scalar(hub)}" for hub in base_models)]
    lines += ["tags:", *(f"- {tag}" for tag in TAGS)]
    if own:
        lines += [
            f"{LIBRARY}:",
            *(
                f"  {key}: {value if isinstance(value, int) else yaml_scalar(value)}"
                for key, value in own.items()
            ),
        ]
    return "\n".join([*lines, "---"])


def _models(ends: Sequence[tuple[str, Model]]) -> str:
    columns = ("role", "model", "hidden size", "vocabulary", "license")
    rows = [
        (
            role,
            hub_link(model.alias, model.hub),
            shown_number(model.hidden_size),
            shown_number(model.vocab_size),
            _word(model.license),
        )
        for role, model in ends
    ]
    return table("Models", columns, rows)


def _head_rows(head: Head, config: Mapping[str, int]) -> list[tuple[str, str]]:
    weight = parse_run_name(head.run).mismatch_weight
    known = (
        ("run", shown_name(head.run)),
        ("hidden size", shown_number(config.get("hidden_size"))),
        ("residual blocks", shown_number(config.get("num_layers"))),
        ("weight on rejection, by the run's name", shown_number(weight)),
    )
    return [(label, value) for label, value in known if value]


def _training_rows(training: TrainingRecord | None) -> list[tuple[str, str]]:
    if training is None:
        return []
    summary = training.summary().model_dump()
    return [
        (label, shown_number(summary[key]))
        for key, label in _SUMMARY_LABELS.items()
        if shown_number(summary.get(key))
    ]


def _evaluation_rows(evaluation: Mapping[str, object]) -> list[tuple[str, str]]:
    """Known figures first, in a fixed order, then all others by their path."""
    found = dict(_flattened(evaluation))
    others = sorted(found.keys() - _EVALUATION_LABELS.keys())
    known = [(label, found[path]) for path, label in _EVALUATION_LABELS.items() if path in found]
    return known + [(shown_name(path), found[path]) for path in others]


def _flattened(figures: Mapping[str, object], before: tuple[str, ...] = ()) -> Iterable[tuple[str, str]]:
    for key, value in figures.items():
        path = (*before, str(key))
        if isinstance(value, Mapping):
            if len(path) < DEEPEST:
                yield from _flattened(value, path)
        elif shown := shown_figure(value):
            yield ".".join(path), shown


def _word(text: str | None) -> str:
    return "not recorded" if text is None else shown_name(text)


def _calibration(calibration: Calibration | None) -> str:
    if calibration is None:
        return ""
    scale, bias = shown_number(calibration.scale), shown_number(calibration.bias)
    return (
        "## Calibration\n\n"
        f"Calibrated probability: sigmoid(scale * logit + bias), scale {scale}, bias {bias}, fitted on held-out "
        "prompts." + "".join(_outlook(way, calibration.outlook(greedy=way == "greedy")) for way in WAYS)
    )


def _outlook(way: str, outlook: Outlook | None) -> str:
    if outlook is None:
        return ""
    numbers = {name: shown_number(value) for name, value in outlook.model_dump().items()}
    return (
        f"\n\nTogether with c, the log odds of the largest probability in the row that a token was drawn from, {way}: "
        f"sigmoid({numbers['head']} * logit + {numbers['confidence']} * c + {numbers['bias']}), and before the token "
        f"is read sigmoid({numbers['next_confidence']} * c + {numbers['next_bias']})."
    )


def _use(repo: str | None, head: Head | None) -> str:
    """How to take the head in, check it and decode with it, and how to load it alone."""
    note = "" if repo else _PLACEHOLDER_NOTE
    parts = ["## How to use", f"With `specreg`, which checks every file before it loads it{note}:"]
    taken_in = f"--catalog {CATALOG_FILE}"
    lines = [f"specreg import {shell_word(repo or PLACEHOLDER)} --into {CATALOG_FILE}"]
    if head is not None:
        name, source, target, run = map(shell_word, (head.name, head.source, head.target, head.run))
        ends = f"{source} {target} --length 2 --run {run}"
        lines += [f"specreg {command} {name} {taken_in}" for command in ("download", "verify")]
        lines += [f'specreg decode {ends} {taken_in} --prompt "Once upon a time"']
    parts.append(fenced("sh", lines))
    if head is not None:
        given = [
            python_text(head.source),
            python_text(head.target),
            "length=2",
            f"run={python_text(head.run)}",
        ]
        call = f'pipeline = registry.resolve_pipeline({", ".join(given)}, catalog="{CATALOG_FILE}")'
        loading = 'cascade = pipeline.load(device="cpu")'
        parts.append(fenced("python", ["import registry", "", call, loading]))
        parts.append("A head by itself: `heads.AcceptancePredictionHead.from_pretrained(folder)`.")
    return "\n\n".join(parts)
