"""What one pass over a head's files shows, and how that is judged, alone and beside its two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from registry.compat import depth_in_run, judge_edge, pair_of
from registry.errors import CheckpointError
from registry.facts import read_edge_facts, read_model_counts
from registry.files.calibrationfile import MAX_CALIBRATION_BYTES, parse_calibration
from registry.files.filenames import CALIBRATION
from registry.files.folder import HashedFile
from registry.files.layout import MAX_CONFIG_BYTES, HeadConfig, parse_head_config, stored_form, stored_names
from registry.files.manifest import PICKLE_DETAIL, Inspector
from registry.files.strictjson import shown
from registry.files.tensorscan import TensorScan, scan_tensors
from registry.records import Head, LockEntry, Model, Status, TokenizerFamily

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
PICKLE: Final = "pytorch_model.bin"
DTYPES: Final = ("F64", "F32", "F16", "BF16")

Verdict = tuple[Status, str]


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The two models a head joins, as far as they are known: the catalog's entries, and folders where they are here.

    Where a model has a record, its files are believed only as recorded.
    """

    source: Model | None = None
    target: Model | None = None
    source_folder: Path | None = None
    target_folder: Path | None = None
    source_entry: LockEntry | None = None
    target_entry: LockEntry | None = None
    families: Mapping[str, TokenizerFamily] = field(default_factory=dict)


@dataclass
class HeadSight:
    """What was seen; `problems` tells by file name why its content was refused."""

    config: HeadConfig | None = None
    scan: TensorScan | None = None
    problems: dict[str, str] = field(default_factory=dict)

    def inspector_of(self, name: str) -> Inspector | None:
        """Who looks into a file while it is hashed."""
        look = {
            CONFIG: self._see_config,
            WEIGHTS: self._see_weights,
            CALIBRATION: self._see_calibration,
        }.get(name)
        if look is None:
            return None

        def inspect(file: HashedFile) -> None:
            try:
                look(file)
            except CheckpointError as error:
                self.problems[name] = "; ".join(error.problems) or str(error)
                raise

        return inspect

    def _see_config(self, file: HashedFile) -> None:
        self.config = parse_head_config(file.read(MAX_CONFIG_BYTES + 1))

    @staticmethod
    def _see_calibration(file: HashedFile) -> None:
        parse_calibration(file.read(MAX_CALIBRATION_BYTES + 1), file=CALIBRATION)

    def _see_weights(self, file: HashedFile) -> None:
        self.scan = scan_tensors(file)


def judge_head(sight: HeadSight, *, run: str, pickled: bool) -> dict[str, Verdict]:
    """Check -> how it came out, for all that the head's own files and its run's name tell."""
    unseen: Verdict = (
        "unknown",
        f"{PICKLE} is {PICKLE_DETAIL}" if pickled else "no sound model.safetensors to look into",
    )
    scan = sight.scan
    return {
        "config": _config(sight),
        "format": _format(sight) if scan is not None or WEIGHTS in sight.problems else unseen,
        "tensors": _tensors(scan, sight.config) if scan is not None else unseen,
        "dtype": _dtype(scan) if scan is not None else unseen,
        "finite": _finite(scan) if scan is not None else unseen,
        "depth": _depth(sight.config, run),
    }


def judge_ids(head: Head, ends: Ends) -> dict[str, Verdict]:
    """Whether the ids of the source are those of the target: tokenizer and vocabulary, as a chain judges them."""
    if ends.source is None or ends.target is None:
        unjudged: Verdict = ("unknown", "the models that it joins are not known")
        return {"tokenizer": unjudged, "vocabulary": unjudged}
    try:
        facts = read_edge_facts(
            None,
            ends.source_folder,
            ends.target_folder,
            source_entry=ends.source_entry,
            target_entry=ends.target_entry,
        )
    except CheckpointError as error:
        spoilt: Verdict = ("fail", str(error))
        return {"tokenizer": spoilt, "vocabulary": spoilt}
    findings = judge_edge(head, pair_of(ends.source, ends.target, ends.families, facts))
    return {
        one.check: (one.status, one.detail) for one in findings if one.check in ("tokenizer", "vocabulary")
    }


def judge_width(config: HeadConfig | None, ends: Ends) -> Verdict:
    """Whether the head reads hidden states as wide as its source model's, by all that tells."""
    source, source_folder = ends.source, ends.source_folder
    if config is None:
        return "unknown", "no sound config.json to look into"
    stated: dict[str, int] = {}
    if source is not None and source.hidden_size is not None:
        stated[f"the catalog says of {source.alias}"] = source.hidden_size
    note = ""
    if source_folder is not None:
        try:
            found = read_model_counts(source_folder, ends.source_entry).get("hidden_size")
        except CheckpointError as error:
            note = f"; the source model's config.json cannot be used: {'; '.join(error.problems)}"
        else:
            if found is not None:
                stated["the source model's config.json says"] = found
    wrong = [f"{who} {size}" for who, size in stated.items() if size != config.hidden_size]
    if wrong:
        return "fail", f"expected hidden size as {', '.join(wrong)}, got {config.hidden_size}{note}"
    if not stated:
        return "unknown", f"{config.hidden_size}; what the source model's is, nothing here tells{note}"
    return "pass", f"{config.hidden_size}, as {' and '.join(stated)}{note}"


def _config(sight: HeadSight) -> Verdict:
    if CONFIG in sight.problems:
        return "fail", sight.problems[CONFIG]
    if sight.config is None:
        return "unknown", "no sound config.json to look into"
    told = f"hidden_size {sight.config.hidden_size}, num_layers {sight.config.num_layers}"
    if sight.config.unknown:
        return (
            "unknown",
            f"{told}; what else it holds is not known: {', '.join(map(shown, sight.config.unknown))}",
        )
    return "pass", told


def _format(sight: HeadSight) -> Verdict:
    if sight.scan is None:
        return "fail", sight.problems[WEIGHTS]
    return "pass", f"safetensors, {len(sight.scan.header.tensors)} tensors"


def _tensors(scan: TensorScan, config: HeadConfig | None) -> Verdict:
    if config is None:
        return "unknown", "no sound config.json to compare with"
    try:
        form = stored_form(stored_names(scan.header, config))
    except CheckpointError as error:
        return "fail", "; ".join(error.problems)
    return "pass", f"names and shapes as config.json implies; stored form: {form}"


def _dtype(scan: TensorScan) -> Verdict:
    found = sorted({info.dtype for info in scan.header.tensors.values()})
    if len(found) == 1 and found[0] in DTYPES:
        return "pass", found[0]
    return "fail", f"expected one of {', '.join(DTYPES)} throughout, got {', '.join(found) or 'no tensor'}"


def _finite(scan: TensorScan) -> Verdict:
    if scan.not_finite:
        return "fail", f"NaN or infinity in {', '.join(scan.not_finite)}"
    return "pass", "every number is finite"


def _depth(config: HeadConfig | None, run: str) -> Verdict:
    if config is None:
        return "unknown", "no sound config.json to compare with"
    named = depth_in_run(run)
    if named is None:
        return "pass", f"{config.num_layers} residual blocks; the run's name states none"
    if named != config.num_layers:
        return "fail", f"expected {named} residual blocks as the run's name states, got {config.num_layers}"
    return "pass", f"{named} residual blocks"
