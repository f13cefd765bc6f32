"""Tokenizers held against each other by what their files say, as a finding of the head between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registry.records import Finding, TokenizerFamily
from registry.verify import Ends, verify_head
from tests.registry.stored import HEAD, SOURCE_MODEL, TARGET_MODEL, write_head

PIECES = {"a": 0, "b": 1, "ab": 2, "</s>": 3}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def write_tokenizer(folder: Path, *, eos: str = "</s>", merges: Any = (), **parts: Any) -> Path:
    """A model's folder with nothing but a tokenizer of four pieces."""
    folder.mkdir()
    document = {
        "normalizer": None,
        "pre_tokenizer": BYTES,
        "decoder": BYTES,
        "added_tokens": [{"id": 3, "content": "</s>", "special": True}],
        "model": {"type": "BPE", "vocab": parts.pop("vocab", PIECES), "merges": list(merges)},
    }
    (folder / "tokenizer.json").write_text(json.dumps({**document, **parts}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos}))
    return folder


def judged(tmp_path: Path, *, check: str = "tokenizer", ends: Ends | None = None, **parts: Any) -> Finding:
    """The finding on a source with the plain tokenizer and a target with one of other parts."""
    if ends is None:
        ends = Ends(
            source=SOURCE_MODEL,
            target=TARGET_MODEL,
            source_folder=write_tokenizer(tmp_path / "a", merges=["a b"]),
            target_folder=write_tokenizer(tmp_path / "b", **{"merges": ["a b"], **parts}),
        )
    report = verify_head(HEAD, write_head(tmp_path / "head"), entry=None, ends=ends)
    return next(finding for finding in report.findings if finding.check == check)


def test_one_tokenizer_in_two_folders_passes(tmp_path: Path) -> None:
    """
    The same content passes, and nothing is said to differ; merges may be written in either way.
    """
    found = judged(tmp_path, merges=[["a", "b"]])

    assert (found.status, found.detail) == ("pass", "the same text for every shared id")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"vocab": {**PIECES, "a": 1, "b": 0}}, "id 0 is 'a' to a and 'b' to b"),
        ({"eos": "ab"}, "the end token is id 3 to a and 2 to b"),
        (
            {
                "added_tokens": [
                    {"id": number, "content": f"<{number}>", "special": True} for number in (3, 9)
                ]
            },
            "id 3 is '</s>' to a and '<3>' to b",
        ),
    ],
    ids=["text", "end", "special"],
)
def test_an_id_that_means_something_else_fails(tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    """
    Another text or another role for one id is a fault of the head's edge.
    """
    found = judged(tmp_path, **parts)

    assert found.status == "fail"
    assert said in found.detail


@pytest.mark.parametrize(
    ("parts", "rule"),
    [
        ({"normalizer": {"type": "NFC"}}, "normaliser"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre-tokenizer"),
        ({"merges": []}, "merges"),
    ],
    ids=["normaliser", "pre-tokenizer", "merges"],
)
def test_a_text_cut_otherwise_is_told(tmp_path: Path, parts: dict[str, Any], rule: str) -> None:
    """
    Rules that only cut a text leave the ids' meaning alone: a pass that names what differs.
    """
    found = judged(tmp_path, **parts)

    assert found.status == "pass"
    assert found.detail.endswith(f"a text may be cut otherwise by each: different {rule}")


def test_another_decoder_is_unknown(tmp_path: Path) -> None:
    """
    The same pieces under another decoder may be another text: no pass.
    """
    found = judged(tmp_path, decoder={"type": "Metaspace", "replacement": "_"})

    assert found.status == "unknown"
    assert "the decoders differ" in found.detail


def test_options_a_decoder_does_not_read_do_not_count(tmp_path: Path) -> None:
    """
    A byte-level decoder is one whatever its options for cutting say.
    """
    assert (
        judged(tmp_path, decoder={**BYTES, "use_regex": False}).detail == "the same text for every shared id"
    )


def test_a_tokenizer_that_cannot_be_read_fails(tmp_path: Path) -> None:
    """
    A file that says nothing is told by its name, and no judgement is made up.
    """
    found = judged(tmp_path, added_tokens=7)

    assert found.status == "fail"
    assert "tokenizer.json" in found.detail


@pytest.mark.parametrize("depth", [400, 900])
def test_rules_nested_deep_end_well(tmp_path: Path, depth: int) -> None:
    """
    Rules nested as deep as a file can hold give a finding, not a traceback.
    """
    text = '{"type": "Sequence", "normalizers": [' * depth + '{"type": "NFC"}' + "]}" * depth
    source = write_tokenizer(tmp_path / "a")
    target = write_tokenizer(tmp_path / "b")
    path = target / "tokenizer.json"
    path.write_text(path.read_text().replace('"normalizer": null', f'"normalizer": {text}'))
    ends = Ends(source=SOURCE_MODEL, target=TARGET_MODEL, source_folder=source, target_folder=target)

    assert judged(tmp_path, ends=ends).status in ("pass", "fail")


@pytest.mark.parametrize(
    ("family", "status"), [("plain", "pass"), ("other", "fail"), (None, "unknown")], ids=str
)
def test_without_files_the_catalog_is_asked(tmp_path: Path, family: str | None, status: str) -> None:
    """
    Where a tokenizer is not here, families decide, as they do for a chain; what nobody says stays unknown.
    """
    target = TARGET_MODEL.model_copy(update={"tokenizer": family})
    families = {"plain": TokenizerFamily(vocab_size=8), "other": TokenizerFamily(vocab_size=8)}
    found = judged(tmp_path, ends=Ends(source=SOURCE_MODEL, target=target, families=families))

    assert found.status == status


def test_models_that_nobody_names_are_unknown(tmp_path: Path) -> None:
    """
    A head looked at by itself has neither tokenizer nor vocabulary judged, and no pass for it.
    """
    for check in ("tokenizer", "vocabulary"):
        folder = tmp_path / check
        folder.mkdir()
        assert judged(folder, check=check, ends=Ends()).status == "unknown"
