"""Tokenizer files read without a tokenizer library."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import CheckpointError
from registry.tokens import vocabulary
from registry.tokens.vocabulary import Vocabulary, read_vocabulary

WORDS = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}


def write(folder: Path, **files: Any) -> Path:
    """`tokenizer=...` becomes tokenizer.json, and so on."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def bpe(words: dict[str, int] = WORDS, added: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"model": {"type": "BPE", "vocab": words, "merges": []}, "added_tokens": added or []}


def test_pieces_of_a_bpe_tokenizer(tmp_path: Path) -> None:
    """
    Words and added tokens of tokenizer.json become pieces by id; special ones are noted.
    """
    added = [
        {"id": 5, "content": "<end>", "special": True},
        {"id": 6, "content": "<think>", "special": False},
    ]
    read = read_vocabulary(write(tmp_path, tokenizer=bpe(added=added)))

    assert read is not None
    assert read.pieces == {0: "<unk>", 1: "<s>", 2: "</s>", 3: "a", 4: "b", 5: "<end>", 6: "<think>"}
    assert read.special_ids == {5}
    assert read.size == 7


def test_pieces_of_a_unigram_tokenizer(tmp_path: Path) -> None:
    """
    A list of [piece, score] numbers its pieces by place.
    """
    document = {"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["\u2581a", -1.5]]}}
    read = read_vocabulary(write(tmp_path, tokenizer=document))

    assert read is not None
    assert read.pieces == {0: "<unk>", 1: "\u2581a"}


def test_special_tokens_by_name(tmp_path: Path) -> None:
    """
    Tokens named as text, as an object or as null become ids; tokenizer_config.json comes first.
    """
    read = read_vocabulary(
        write(
            tmp_path,
            tokenizer=bpe(),
            tokenizer_config={"eos_token": {"content": "</s>"}, "bos_token": "<s>", "pad_token": None},
            special_tokens_map={"eos_token": "a", "unk_token": "<unk>"},
        )
    )

    assert read is not None
    assert (read.eos_id, read.bos_id, read.pad_id, read.unk_id) == (2, 1, None, 0)
    assert read.special_ids == {0, 1, 2}


def test_config_json_is_not_believed(tmp_path: Path) -> None:
    """
    llama-68m's config.json misstates its begin and pad tokens; the tokenizer's files count.
    """
    read = read_vocabulary(
        write(
            tmp_path,
            tokenizer=bpe(),
            tokenizer_config={"eos_token": "</s>", "bos_token": "<s>"},
            config={"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2},
        )
    )

    assert read is not None
    assert (read.bos_id, read.pad_id) == (1, None)


@pytest.mark.parametrize("stated", [4, [4], [2, 4]], ids=str)
def test_generation_config_adds_ends(tmp_path: Path, stated: object) -> None:
    """
    What generation_config.json ends a text with joins the end token.
    """
    read = read_vocabulary(
        write(
            tmp_path,
            tokenizer=bpe(),
            tokenizer_config={"eos_token": "</s>"},
            generation_config={"eos_token_id": stated},
        )
    )

    assert read is not None
    assert read.end_ids == {2, 4}


def test_added_tokens_decoder_is_read(tmp_path: Path) -> None:
    """
    Tokens that only tokenizer_config.json adds are pieces too.
    """
    decoder = {"5": {"content": "<pad>", "special": True}}
    read = read_vocabulary(
        write(tmp_path, vocab=WORDS, tokenizer_config={"added_tokens_decoder": decoder, "pad_token": "<pad>"})
    )

    assert read is not None
    assert (read.pieces[5], read.pad_id) == ("<pad>", 5)


def test_folder_without_tokenizer_is_unknown(tmp_path: Path) -> None:
    """
    No file of ids is no fault: nothing is known.
    """
    assert read_vocabulary(tmp_path) is None
    assert read_vocabulary(tmp_path / "nowhere") is None
    assert read_vocabulary(write(tmp_path, tokenizer_config={"eos_token": "</s>"})) is None


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"model": 3},
        {"model": {"vocab": 3}},
        {"model": {"vocab": {"a": -1}}},
        {"model": {"vocab": {"a": True}}},
        {"model": {"vocab": {"a": 1.0}}},
        {"model": {"vocab": {"a": 2**40}}},
        {"model": {"vocab": {"a": 1, "b": 1}}},
        {"model": {"vocab": [["a"]]}},
        {"model": {"vocab": [[1, 2]]}},
        {"model": {"vocab": {}}, "added_tokens": {"a": 1}},
        {"model": {"vocab": {}}, "added_tokens": [3]},
        {"model": {"vocab": {}}, "added_tokens": [{"id": 1}]},
        {"model": {"vocab": {}}, "added_tokens": [{"id": "1", "content": "a"}]},
    ],
    ids=repr,
)
def test_nonsense_is_refused_by_name(tmp_path: Path, document: object) -> None:
    """
    A tokenizer.json that says something else is refused, and the message names the file.
    """
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be used: expected") as caught:
        read_vocabulary(write(tmp_path, tokenizer=document))

    assert caught.value.path == str(tmp_path / "tokenizer.json")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"model": ' + b"[" * 100_000, b'{"a": 1, "a": 2}', b"null", b"NaN"],
    ids=["empty", "open", "not utf-8", "deep", "twice", "null", "nan"],
)
def test_broken_json_is_refused(tmp_path: Path, content: bytes) -> None:
    """
    What is not one strict JSON object never gets as far as a vocabulary.
    """
    (tmp_path / "tokenizer.json").write_bytes(content)

    with pytest.raises(CheckpointError, match="cannot be used"):
        read_vocabulary(tmp_path)


def test_huge_file_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Past the size limit nothing is parsed.
    """
    monkeypatch.setattr(vocabulary, "TOKENIZER_LIMIT_BYTES", 1000)
    write(tmp_path, tokenizer=bpe({f"word{number}": number for number in range(200)}))

    with pytest.raises(CheckpointError, match="at most 1000 bytes"):
        read_vocabulary(tmp_path)


def test_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """
    A pipe in place of a file is refused at once instead of read for ever.
    """
    os.mkfifo(tmp_path / "tokenizer.json")

    with pytest.raises(CheckpointError, match="plain file"):
        read_vocabulary(tmp_path)


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    low = number & 0x7F
    return bytes([low]) if number < 0x80 else bytes([low | 0x80]) + varint(number >> 7)


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def sentencepiece(words: list[tuple[str, int]], **roles: int) -> bytes:
    """A model of (piece, type): 1 plain, 2 unknown, 3 control, 6 byte. Roles left out are not stated."""
    score = varint(2 << 3 | 5) + b"\0\0\x80\xbf"
    pieces = [
        message(1, message(1, text.encode()) + score + varint(3 << 3) + varint(kind)) for text, kind in words
    ]
    places = {"unk": 40, "bos": 41, "eos": 42, "pad": 43}
    trainer = message(2, b"".join(varint(places[role] << 3) + varint(value) for role, value in roles.items()))
    return b"".join(pieces) + trainer + message(3, b"normalizer")


LLAMA = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<0x0A>", 6), ("\u2581a", 1)]


def test_sentencepiece_model_is_read(tmp_path: Path) -> None:
    """
    A folder with tokenizer.model alone, as Vicuna's, tells its pieces, special ids and end.
    """
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece(LLAMA, pad=-1))
    read = read_vocabulary(tmp_path)

    assert read is not None
    assert read.pieces == {0: "<unk>", 1: "<s>", 2: "</s>", 3: "<0x0A>", 4: "\u2581a"}
    assert read.special_ids == {0, 1, 2}
    assert (read.unk_id, read.bos_id, read.eos_id, read.pad_id) == (0, 1, 2, None)


def test_settings_overrule_the_sentencepiece_model(tmp_path: Path) -> None:
    """
    What tokenizer_config.json names counts for more, added tokens included, and so does a plain null.
    """
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece(LLAMA, bos=1, eos=2))
    write(
        tmp_path,
        added_tokens={"<pad>": 5},
        tokenizer_config={"pad_token": "<pad>", "bos_token": None, "eos_token": "<0x0A>"},
    )
    read = read_vocabulary(tmp_path)

    assert read is not None
    assert (read.bos_id, read.eos_id, read.pad_id) == (None, 3, 5)


def test_both_forms_of_one_tokenizer_are_equal(tmp_path_factory: pytest.TempPathFactory) -> None:
    """
    The same pieces from tokenizer.json and from tokenizer.model have one fingerprint.
    """
    one, other = tmp_path_factory.mktemp("fast"), tmp_path_factory.mktemp("slow")
    write(one, tokenizer=bpe({piece: number for number, (piece, _) in enumerate(LLAMA)}))
    (other / "tokenizer.model").write_bytes(sentencepiece(LLAMA))
    fast, slow = read_vocabulary(one), read_vocabulary(other)

    assert fast is not None
    assert slow is not None
    assert fast.fingerprint == slow.fingerprint


def test_tokenizer_model_of_another_make_is_unknown(tmp_path: Path) -> None:
    """
    A tiktoken list under the same name is not SentencePiece: nothing is known, nothing is refused.
    """
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")

    assert read_vocabulary(tmp_path) is None


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_mutated_sentencepiece_model_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """
    Bytes cut or changed anywhere lead to a vocabulary or to one named error, never to another exception.
    """
    content = bytearray(sentencepiece(LLAMA, pad=-1, eos=2))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    folder = tmp_path_factory.mktemp("mutated")
    (folder / "tokenizer.model").write_bytes(content)
    try:
        read, problem = read_vocabulary(folder), ""
    except CheckpointError as error:
        read, problem = None, str(error)

    assert read is None or read.size <= len(content)
    assert not problem or "tokenizer.model cannot be used" in problem


pieces = st.dictionaries(st.integers(0, 50), st.text(max_size=4), max_size=8)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(pieces, pieces)
def test_fingerprints_are_equal_just_where_pieces_are(one: dict[int, str], other: dict[int, str]) -> None:
    """
    Line breaks and tabs inside a piece cannot forge another vocabulary's fingerprint.
    """
    prints = Vocabulary(pieces=one).fingerprint, Vocabulary(pieces=other).fingerprint

    assert (prints[0] == prints[1]) == (one == other)


def test_piece_with_a_line_break_is_not_two_pieces() -> None:
    """
    One piece that reads like two lines has a fingerprint of its own.
    """
    forged = Vocabulary(pieces={1: 'a"\n2\t"b'})

    assert forged.fingerprint != Vocabulary(pieces={1: "a", 2: "b"}).fingerprint


def test_order_of_ids_does_not_show() -> None:
    """
    The fingerprint goes by id, not by the order in the file.
    """
    assert Vocabulary(pieces={1: "a", 2: "b"}).fingerprint == Vocabulary(pieces={2: "b", 1: "a"}).fingerprint


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 1000), max_size=10))
def test_any_vocabulary_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, words: dict[str, int]
) -> None:
    """
    Words map to their ids; two words of one id are refused.
    """
    folder = write(tmp_path_factory.mktemp("tokenizer"), tokenizer=bpe(words))
    if len(set(words.values())) < len(words):
        with pytest.raises(CheckpointError):
            read_vocabulary(folder)
        return
    read = read_vocabulary(folder)
    assert ({} if read is None else dict(read.pieces)) == {number: word for word, number in words.items()}
