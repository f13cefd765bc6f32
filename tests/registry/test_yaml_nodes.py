from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.reading import yaml_nodes
from registry.reading.faults import LISTED_FAULTS, FaultList
from registry.reading.scalars import ODD, plain_value
from registry.reading.yaml_nodes import ListNode, MapNode, Node, ScalarNode, read_yaml

LIMIT_S = 0.5


def faults_of(text: str | bytes) -> list[str]:
    faults = FaultList("f")
    read_yaml(text, faults)
    return [str(fault) for fault in faults.in_file_order()]


def as_python(node: Node | None) -> Any:
    """The tree as dicts, lists and text."""
    if isinstance(node, MapNode):
        return {key: as_python(child) for key, child in node.items.items()}
    if isinstance(node, ListNode):
        return [as_python(child) for child in node.items]
    assert isinstance(node, ScalarNode)
    return node.text


TREES = st.recursive(
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc:# -", max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, derandomize=True)
@given(tree=TREES.filter(lambda tree: not isinstance(tree, str)), flow=st.booleans())
def test_reads_what_a_writer_of_yaml_wrote(tree: object, flow: bool) -> None:
    """The tree is the one that another YAML library was given to write."""
    faults = FaultList("f")
    text = yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True, sort_keys=False)

    root = read_yaml(text, faults)

    assert (faults.in_file_order(), as_python(root)) == ([], tree)


@settings(deadline=None, derandomize=True)
@given(text=st.text("ab:-[]{}&*!|>'\"#? \n\t<%,~0", max_size=40) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text, there is a tree, a fault or nothing in it; never an exception."""
    faults = FaultList("f")

    root = read_yaml(text, faults)

    assert root is not None or faults.count or not as_core_yaml(text)


def as_core_yaml(text: str) -> object:
    return yaml.safe_load(text)


@settings(deadline=None, derandomize=True)
@given(data=st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Bytes that are no UTF-8 are a fault like any other."""
    faults = FaultList("f")
    read_yaml(data, faults)
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        assert "is not UTF-8" in str(faults.in_file_order()[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: &x 2\n", "f:3: b.c: anchors are refused: leave &x out"),
        ("a: &x 1\nb: [1, *x]\n", "f:2: b[1]: aliases are refused: write the value in place of *x"),
        ("a:\n  <<: {b: 1}\n", "f:2: a: merge keys are refused: write the entries out"),
        ("a:\n  - b: !!str 1\n", "f:2: a[0].b: tags are refused: leave 'tag:yaml.org,2002:str' out"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "f:4: b.c: given twice; first in line 3"),
        ("a: 1\n---\nb: 1\n", "f:2: a second document starts here; a catalog is one document"),
        ("? [a]\n: 1\n", "f:1: a key has to be text, not a collection"),
        ("no: 1\n", "f:1: the key 'no' is not text; write \"no\" with quotes"),
        ("%TAG ! x:\n---\na: 1\n", "f:1: %TAG directives are refused"),
        ("a: [1,\n", "f:2: is not YAML"),
        ("a: 1\nb: \x00\n", "f:2: is not YAML"),
        (b"a: 1\nb: \xff\n", "f:2: is not UTF-8: byte 0xff at offset 8"),
        ("a: \ud800", "f:1: holds half of a surrogate pair"),
        ("a: " * 17 + "1", "f:1: is not YAML"),
        ("[" * 17 + "]" * 17, "nested deeper than 16 levels"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_refusal_says_where(text: str | bytes, expected: str) -> None:
    """What is refused is named with its line and its path."""
    assert any(expected in fault for fault in faults_of(text))


def test_sixteen_levels_are_read() -> None:
    """The bound on nesting refuses the seventeenth level, not the sixteenth."""
    assert faults_of("[" * 16 + "]" * 16) == []


def test_all_refusals_are_reported() -> None:
    """One refusal does not hide the next."""
    assert len(faults_of("a: &x 1\nb: *x\nc: !t 1\na: 2\n<<: 1\n")) == 5


def test_byte_order_mark_is_no_text() -> None:
    """Files of editors that begin with a byte order mark read like the others."""
    faults = FaultList("f")
    assert as_python(read_yaml("\ufeffa: 1".encode(), faults)) == {"a": "1"}


def test_file_beyond_the_size_bound_is_not_parsed() -> None:
    """One byte too many, and the parser never sees the text."""
    assert faults_of(b"#" * (yaml_nodes.MAX_BYTES + 1)) == [
        "f: larger than 64 MiB, the most a catalog may be"
    ]


def test_number_of_nodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of many tiny values stops at the bound, not when memory ends."""
    monkeypatch.setattr(yaml_nodes, "MAX_NODES", 100)
    assert faults_of("[" + "a," * 200 + "]") == ["f:1: [99]: more than 100 keys and values"]


def test_flood_of_faults_is_counted() -> None:
    """Past the listed ones, faults are counted in one line."""
    faults = faults_of("[" + "!t a," * (LISTED_FAULTS + 7) + "]")

    assert len(faults) == LISTED_FAULTS + 1
    assert faults[-1] == "f: 7 more faults are not listed; mend these first"


@pytest.mark.parametrize(
    "text",
    [
        "no yes on off No YES 012 00 0x1F 0o17 0b11 1_000 1:30 190:20:30 2024-01-01 .inf -.INF .nan = <<",
        "2024-01-01T10:00:00Z 1__________ " + "1" * 41 + " 1" + ":1" * 30,
    ],
    ids=["words", "long"],
)
def test_words_that_readers_differ_on_are_odd(text: str) -> None:
    """What one version of YAML takes for text and another for a number, date or truth is neither."""
    assert {word: plain_value(word) for word in text.split() if plain_value(word) is not ODD} == {}


@settings(deadline=None, derandomize=True, max_examples=500)
@given(word=st.text("0123456789+-.:_eExobnyNYtTfF~=<", min_size=1, max_size=12))
def test_plain_words_mean_the_same_to_an_older_reader(word: str) -> None:
    """A word that is read as text, whole number or truth is the same to a reader of YAML 1.1."""
    value = plain_value(word)
    if value is ODD or isinstance(value, float):
        return
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, word, (True, False))  # type: ignore[no-untyped-call]
    node = yaml.ScalarNode(tag, word)

    assert loader.construct_object(node) == value


def bombs() -> dict[str, str]:
    many = 100_000
    laughs = "a: &a0 [x]\n" + "".join(f"b{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 30))
    merges = "b0: &b0 {x: 1}\n" + "".join(
        f"b{i}: &b{i}\n  <<: [*b{i - 1}, *b{i - 1}]\n" for i in range(1, 60)
    )
    return {
        "aliases": laughs,
        "merge keys": merges,
        "flow lists": "[" * many,
        "flow mappings": "{a: " * many,
        "block lists": "- " * many,
        "block mappings": "\n".join(" " * depth + "a:" for depth in range(400)),
        "complex keys": "? " * many,
        "documents": "--- a\n" * many,
        "one key many times": "a: 1\n" * 8_000,
        "anchors": "[" + "&a b," * 8_000 + "]",
        "tags": "[" + "!t b," * 8_000 + "]",
        "long number": "a: " + "9" * 1_000_000,
        "long odd number": "a: 1" + "_" * 1_000_000 + "x",
        "long base 60": "a: 1" + ":11" * 300_000 + "x",
        "long word": "a: " + "q" * 1_000_000,
        "long anchor": "a: &" + "q" * 1_000_000 + " b",
        "comments": "#\n" * 500_000,
    }


@pytest.mark.parametrize("kind", bombs())
@pytest.mark.usefixtures("small_heap")
def test_bomb_costs_little(kind: str) -> None:
    """A small text that grows in a careless reader costs this one next to nothing."""
    text = bombs()[kind]
    start = time.process_time()

    faults = FaultList("f")
    root = read_yaml(text, faults)
    if isinstance(root, MapNode) and isinstance(node := root.items.get("a"), ScalarNode):
        plain_value(node.text)

    assert time.process_time() - start < LIMIT_S


def test_reads_the_same_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own parser, for installations without the C library, gives tree and faults alike."""
    text = "a: [1, {b: 'c'}]\nd: &x 'no'\ne: *x\na: 2\n'f': |\n  g\n"
    with_c = as_python(read_yaml("a: [1, {b: 'c'}]\n", FaultList("f"))), faults_of(text)
    monkeypatch.setattr(yaml_nodes, "_Parser", yaml.Loader)

    assert (as_python(read_yaml("a: [1, {b: 'c'}]\n", FaultList("f"))), faults_of(text)) == with_c
