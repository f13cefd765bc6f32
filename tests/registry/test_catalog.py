from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import parse_catalog
from registry.errors import CatalogError
from registry.records import Calibration, Catalog, Head, Model, Source, TokenizerFamily, TrainingSummary

BASE = Path("/base")
WHOLE = """\
version: 1
sources:
  web: {hub: org/heads, revision: refs/pr/3}
  disk: {path: ./my-heads/}
  inside: {package: heads, path: pico}
tokenizers:
  t: {vocab_size: 10, fingerprint: "0123"}
models:
  a:
    {hub: org/a, hidden_size: 4, vocab_size: 12, tokenizer: t, parameters: 99,
     license: mit, gated: true, aliases: [aa]}
  b: {path: models/b}
  c: {package: heads, path: pico/c}
heads:
  - source: a
    target: b
    run: exp-1
    from: disk
    training: {steps: 3, epochs: 1, final_loss: 5e-05}
    calibration: {scale: 0.9, bias: -1}
  - {source: b, target: c, run: exp-1, from: web, path: .}
"""
START = "version: 1\nsources: {s: {path: h}}\nmodels: {a: {}, b: {}}\n"


def faults_of(text: str | bytes) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        parse_catalog(text, file="f", base=BASE)
    return [str(fault) for fault in caught.value.faults]


def in_head(fields: str) -> str:
    return f"{START}heads:\n  - {{source: a, target: b, run: r, from: s, {fields}}}\n"


def test_whole_catalog_becomes_records() -> None:
    """Every field that a catalog may hold arrives in its record."""
    assert parse_catalog(WHOLE, file="f", base=BASE) == Catalog(
        sources={
            "web": Source(hub="org/heads", revision="refs/pr/3", base=BASE),
            "disk": Source(path="my-heads", base=BASE),
            "inside": Source(package="heads", path="pico", base=BASE),
        },
        tokenizers={"t": TokenizerFamily(vocab_size=10, fingerprint="0123")},
        models={
            "a": Model(
                alias="a",
                hub="org/a",
                hidden_size=4,
                vocab_size=12,
                tokenizer="t",
                parameters=99,
                license="mit",
                gated=True,
                aliases=("aa",),
                base=BASE,
            ),
            "b": Model(alias="b", path="models/b", base=BASE),
            "c": Model(alias="c", package="heads", path="pico/c", base=BASE),
        },
        heads=(
            Head.model_validate(
                {
                    "source": "a",
                    "target": "b",
                    "run": "exp-1",
                    "from": "disk",
                    "training": TrainingSummary(steps=3, epochs=1.0, final_loss=5e-05),
                    "calibration": Calibration(scale=0.9, bias=-1.0),
                }
            ),
            Head.model_validate({"source": "b", "target": "c", "run": "exp-1", "from": "web", "path": "."}),
        ),
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "f: expected a mapping that starts with 'version: 1'"),
        ("- 1", "f:1: expected a mapping that starts with 'version: 1'"),
        ("models: {}", "f:1: version: missing; a catalog starts with 'version: 1'"),
        ("version: 2", "f:1: version: expected 1, got the number 2"),
        ("version: '1'", "f:1: version: expected 1, got the text '1'"),
        ("version: true", "f:1: version: expected 1, got the word true"),
        ("version: 1\nmodel: {}", "f:2: model: unknown key; did you mean 'models'?"),
        ("version: 1\nmodels: []", "f:2: models: expected a mapping of names"),
        ("version: 1\nheads: {}", "f:2: heads: expected a list of heads"),
        ("version: 1\nheads:", "f:2: heads: expected a list of heads, got nothing; leave the key out"),
        ("version: 1\nheads: [x]", "f:2: heads[0]: expected a mapping of the keys of a head, got 'x'"),
        (
            "version: 1\nmodels: {a: {hiden_size: 1}}",
            "f:2: models.a.hiden_size: unknown key; did you mean 'hidden_size'?",
        ),
        (
            "version: 1\nsources: {s: {}}",
            "f:2: sources.s: expected one of hub, package or path, got none of them",
        ),
        (
            "version: 1\nsources: {s: {hub: o/r, path: x}}",
            "f:2: sources.s: expected one place, got hub and path",
        ),
        (
            "version: 1\nmodels: {a: {path: x, revision: main}}",
            "f:2: models.a.revision: a revision needs a hub repository beside it",
        ),
        ("version: 1\nmodels: {a: {tokenizer: t}}", "f:2: models.a.tokenizer: 't' is no tokenizer"),
        (
            "version: 1\nmodels: {a: {aliases: [x, x]}}",
            "f:2: models.a.aliases[1]: 'x' is listed twice",
        ),
        (
            "version: 1\nmodels:\n  a: {aliases: [x]}\n  b: {aliases: [y, X]}",
            "f:4: models.b.aliases[1]: 'X' already names model 'a'",
        ),
        ("version: 1\nmodels:\n  a: {}\n  A: {}", "f:4: models.A: 'A' already names model 'a'"),
        (
            "version: 1\nmodels:\n  a: {hub: o/r}\n  b: {hub: O/R}",
            "f:4: models.b.hub: 'O/R' already names model 'a'",
        ),
        (
            START + "heads: [{source: aa, target: b, run: r, from: s}]",
            "f:4: heads[0].source: 'aa' is no model; did you mean 'a'?",
        ),
        (
            START + "heads: [{source: A, target: b, run: r, from: s}]",
            "f:4: heads[0].source: 'A' is no alias; did you mean 'a'?",
        ),
        (
            START + "heads: [{source: a, target: b, run: r, from: ss}]",
            "f:4: heads[0].from: 'ss' is no source; did you mean 's'?",
        ),
        (
            START + "heads: [{source: a, target: a, run: r, from: s}]",
            "f:4: heads[0]: leads from 'a' to itself",
        ),
        (START + "heads: [{source: a, target: b, from: s}]", "f:4: heads[0].run: missing"),
        (
            START
            + "heads:\n- {source: a, target: b, run: r, from: s}\n- {source: a, target: b, run: R, from: s}",
            "f:6: heads[1]: 'a--to--b/R' is already heads[0]",
        ),
        (in_head("training: {step: 1}"), "heads[0].training.step: unknown key; did you mean 'steps'?"),
        (in_head("training: {steps: -1}"), "heads[0].training.steps: expected a whole number from 0 up"),
        (in_head("training: {final_loss: 1e999}"), "training.final_loss: expected a finite number"),
        (in_head("training: {epochs: -0.1}"), "training.epochs: expected a finite number from 0 up"),
        (in_head("calibration: {scale: 1}"), "f:5: heads[0].calibration.bias: missing"),
        (in_head("calibration: 1"), "heads[0].calibration: expected a mapping of the keys of a calibration"),
        (in_head("path: [x]"), "heads[0].path: expected text, got a list"),
    ],
)
def test_fault_says_where_and_what(text: str, fault: str) -> None:
    """A fault has its file, line and dotted path, and is the only one of its text."""
    found = faults_of(text)

    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("gated", "no", "expected true or false, got 'no', which versions of YAML read differently"),
        ("gated", "'true'", "expected true or false, got the text 'true'"),
        ("gated", "1", "expected true or false, got the number 1"),
        (
            "license",
            "no",
            "expected text, got 'no', which versions of YAML read differently; write \"no\" with quotes",
        ),
        ("license", "2", 'expected text, got the number 2; write "2" with quotes'),
        ("license", "true", 'expected text, got the word true; write "true" with quotes'),
        ("license", "", "expected text, got nothing; give a value, or leave the key out"),
        ("license", "2024-01-01", "expected text, got '2024-01-01', which versions of YAML read differently"),
        ("hidden_size", "012", "expected a whole number from 1 up, got '012', which versions of YAML"),
        ("hidden_size", "0x10", "expected a whole number from 1 up, got '0x10', which versions of YAML"),
        ("hidden_size", "1:30", "expected a whole number from 1 up, got '1:30', which versions of YAML"),
        ("hidden_size", "1_000", "expected a whole number from 1 up, got '1_000', which versions of YAML"),
        ("hidden_size", "'12'", "expected a whole number from 1 up, got the text '12'"),
        ("hidden_size", "12.0", "expected a whole number from 1 up, got the number 12.0"),
        ("hidden_size", "0", "expected a whole number from 1 up, got the number 0"),
        ("hidden_size", "9223372036854775808", "expected a whole number from 1 up"),
        ("hidden_size", "9" * 5000, "expected a whole number from 1 up"),
        ("hidden_size", "true", "expected a whole number from 1 up, got the word true"),
        ("aliases", "x", "expected a list, got 'x'"),
        ("aliases", "{}", "expected a list, got a mapping"),
    ],
)
def test_types_are_strict(field: str, value: str, said: str) -> None:
    """Nothing is taken for another type than the one it was written as."""
    (fault,) = faults_of(f"version: 1\nmodels: {{a: {{{field}: {value}}}}}")

    assert fault.startswith(f"f:2: models.a.{field}: {said}")


HOSTILE = {
    "alias": [
        "../a",
        "a/b",
        "a..b",
        "a--to--b",
        "to--b",
        "a--to",
        "",
        " a",
        "a ",
        "a\\b",
        ".a",
        "-a",
        "a\n",
        "é",
    ],
    "run": ["../r", "r/r", "..", ".", "", "r..r", "r\x7f", "r\u202er", "r\n", "C:r", "r" * 97],
    "path": [
        "/x",
        "..",
        "../x",
        "x/../y",
        "x/..",
        "~/x",
        "C:/x",
        "x\\y",
        "",
        "x//y",
        "x/./y",
        "x\x01",
        "x\u200b",
    ],
    "hub": [
        "x",
        "/x",
        "x/",
        "a/b/c",
        "../b",
        "a/..",
        "a b/c",
        "a/b--c",
        "a/b.git",
        "-a/b",
        "a/b.",
        "h://a/b",
        "a/b\n",
    ],
    "revision": [
        "..",
        "a..b",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "-a",
        "a b",
        "a.lock",
        "refs/.x",
        "",
        "a\n",
        "a\\b",
    ],
    "package": ["a-b", "a/b", "..a", "a.", ".a", "1a", "", "a b"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in HOSTILE.items() for value in values]
)
def test_name_that_could_leave_its_folder_is_refused(field: str, value: str) -> None:
    """Whatever could lead out of its folder, or hides what it is, is refused under its own path."""
    quoted = '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    place, text = {
        "alias": (f"models[{value!r}]", f"models: {{{quoted}: {{}}}}"),
        "run": ("heads[0].run", f"heads: [{{source: a, target: b, run: {quoted}, from: s}}]"),
        "path": ("sources.s.path", f"sources: {{s: {{path: {quoted}}}}}"),
        "hub": ("sources.s.hub", f"sources: {{s: {{hub: {quoted}}}}}"),
        "revision": ("sources.s.revision", f"sources: {{s: {{hub: a/b, revision: {quoted}}}}}"),
        "package": ("sources.s.package", f"sources: {{s: {{package: {quoted}}}}}"),
    }[field]
    start = START if field == "run" else "version: 1\n"

    (fault,) = faults_of(start + text)

    assert place.removesuffix("]")[:20] in fault or f"models.{value}"[:20] in fault
    assert "expected" in fault


@settings(deadline=None, derandomize=True, max_examples=300)
@given(path=st.text("ab./\\~: \t\n-é", max_size=12) | st.text(max_size=12))
def test_accepted_path_stays_in_its_folder(path: str) -> None:
    """Of all texts, those accepted as a path lie under the catalog's folder."""
    quoted = '"' + "".join(f"\\U{ord(letter):08x}" for letter in path) + '"'
    try:
        catalog = parse_catalog(f"version: 1\nsources: {{s: {{path: {quoted}}}}}", file="f", base=BASE)
    except CatalogError:
        return
    accepted = catalog.sources["s"].path
    assert accepted is not None
    assert Path(os.path.normpath(BASE / accepted)).is_relative_to(BASE)
    assert not {unicodedata.category(letter) for letter in accepted} & {"Cc", "Zl", "Zp", "Cs"}


def test_every_fault_is_reported_in_file_order() -> None:
    """Faults of reading, of types and of references come together, by line."""
    faults = faults_of(
        "version: 1\n"
        "models:\n"
        "  a: {hidden_size: x}\n"
        "  b: {tokenizer: t}\n"
        "  b: {}\n"
        "  c: &c {}\n"
        "heads:\n"
        "  - {source: nobody, target: b, run: ../r, from: s}\n"
        "extra: 1\n"
    )

    assert [fault.split(": ")[:2] for fault in faults] == [
        ["f:3", "models.a.hidden_size"],
        ["f:4", "models.b.tokenizer"],
        ["f:5", "models.b"],
        ["f:6", "models.c"],
        ["f:8", "heads[0].run"],
        ["f:8", "heads[0].source"],
        ["f:8", "heads[0].from"],
        ["f:9", "extra"],
    ]


def test_fault_of_a_model_is_not_repeated_for_its_heads() -> None:
    """A head may name a model whose entry is at fault: one fault, not two."""
    faults = faults_of(
        "version: 1\nsources: {s: {path: h}}\nmodels: {a: {gated: 1}, b: }\n"
        "heads: [{source: a, target: b, run: r, from: s}]"
    )

    assert [fault.split(": ")[1] for fault in faults] == ["models.a.gated", "models.b"]


@pytest.mark.parametrize(
    "text",
    [
        START + "heads:\n" + "  - {source: model-x, target: nodel-y, run: r, from: z}\n" * 5_000,
        "version: 1\nmodels:\n" + "".join(f"  m-{number}: {{aliases: [same]}}\n" for number in range(4_000)),
        "version: 1\nmodels: {a: {" + ", ".join(f"key{number}: 1" for number in range(5_000)) + "}}",
        "version: 1\nmodels:\n"
        + "".join(f"  m-{number}: {{}}\n" for number in range(4_000))
        + "heads:\n"
        + "".join(f"  - {{source: n-{number}, target: m-1, run: r, from: s}}\n" for number in range(1_000)),
        f"version: 1\nmodels: {{a: {{license: '{' ' * 500_000}', hub: '{'a-' * 250_000}'}}}}",
        f"version: 1\nsources: {{s: {{path: '{'a/' * 250_000}..'}}}}",
    ],
    ids=["dangling heads", "one alias claimed", "unknown keys", "near names", "blanks", "long path"],
)
def test_flood_of_faults_costs_little(text: str) -> None:
    """Thousands of faults are found in little time: suggestions have a budget, patterns a length."""
    start = time.process_time()

    faults_of(text)

    assert time.process_time() - start < 0.75


@pytest.mark.usefixtures("small_heap")
def test_many_heads_load(tmp_path: Path) -> None:
    """The cost of loading grows with the number of heads, no faster."""

    def seconds(heads: int) -> float:
        rows = "".join(f"  - {{source: a, target: b, run: run-{row}, from: s}}\n" for row in range(heads))
        (tmp_path / "many.yaml").write_text(f"{START}heads:\n{rows}")
        start = time.process_time()
        catalog = parse_catalog((tmp_path / "many.yaml").read_bytes(), file="many.yaml", base=tmp_path)
        assert len(catalog.heads) == heads
        return time.process_time() - start

    assert seconds(12_000) < 30 * max(seconds(1_000), 0.01)
