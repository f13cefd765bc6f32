from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.catalog import builtin_catalog_path, dump_catalog, load_catalog, parse_catalog
from registry.errors import CatalogError
from registry.reading.fields import CALIBRATION, HEAD, MODEL, SOURCE, TOKENIZER, TRAINING, Table
from registry.reading.schema import catalog_json_schema
from registry.records import Calibration, Head, Model, Record, Source, TokenizerFamily, TrainingSummary

GOOD: dict[str, Any] = {
    "version": 1,
    "sources": {
        "web": {"hub": "org/heads", "revision": "main"},
        "disk": {"path": "./h/"},
        "in": {"package": "p.q"},
    },
    "tokenizers": {"t": {"vocab_size": 10, "fingerprint": "ab12"}},
    "models": {
        "a": {
            "hub": "org/a",
            "hidden_size": 4,
            "tokenizer": "t",
            "license": "mit",
            "gated": False,
            "aliases": ["aa"],
        },
        "b": {"package": "p", "path": "b"},
        "c": {},
    },
    "heads": [
        {
            "source": "a",
            "target": "b",
            "run": "exp-1",
            "from": "web",
            "path": "x/y",
            "training": {"steps": 3, "final_loss": -0.5},
            "calibration": {"scale": 1, "bias": 0.5},
        }
    ],
}
BAD_VALUES: dict[str, tuple[Any, ...]] = {
    "version": (2, "1", None, True),
    "sources": ([], 3, None),
    "sources.web": (
        {},
        [],
        None,
        {"hub": "o/r", "path": "x"},
        {"hub": "o/r", "package": "p"},
        {"revision": "main"},
    ),
    "sources.web.hub": ("x", "a/b/c", "a/b.git", "", 3, None, "a/b\n"),
    "sources.web.revision": ("..", "a//b", "-a", "", 1),
    "sources.disk": ({"path": "x", "revision": "main"}, {"path": "x", "more": 1}),
    "sources.disk.path": ("/x", "../x", "a/../b", "C:/x", "a\\b", "~/x", "", "a\tb", ["x"]),
    "sources.in.package": ("a-b", ".a", "", False),
    "tokenizers.t.vocab_size": (0, -1, 1.5, "10", 2**63, True),
    "tokenizers.t.fingerprint": ("", " a", "a\nb", "a" * 201),
    "models": (["a"], "a"),
    "models.a": (None, [], "x", {"hub": "o/r", "path": "x"}, {"hidden": 1}),
    "models.a.hidden_size": (0, 1.5, "4", None),
    "models.a.tokenizer": ("a/b", "", 4),
    "models.a.license": ("", 3, "a\x00b"),
    "models.a.gated": ("no", 0, None),
    "models.a.aliases": ("aa", ["a/b"], ["x", "x"], [1], {}, ["a--to--b"]),
    "heads": ({}, None, "x"),
    "heads.0": ({}, [], {"source": "a", "target": "b", "run": "r"}, "x"),
    "heads.0.source": ("", "a--to--b", "../a", 3),
    "heads.0.run": ("..", "a/b", "", 3, "a" * 97),
    "heads.0.path": ("..", "/x", ""),
    "heads.0.training": ([], {"steps": -1}, {"epochs": -0.5}, {"loss": 1}, {"best_step": 1.5}),
    "heads.0.calibration": ({}, {"scale": 1}, {"scale": "1", "bias": 0}, {"scale": 1, "bias": 0, "x": 1}),
}
GOOD_VALUES: dict[str, tuple[Any, ...]] = {
    "sources": ({**GOOD["sources"], "more": {"hub": "Org_1/x.y-z", "revision": "0" * 40}},),
    "sources.disk.path": (".", "./", "a b/é", "x/.hidden", "..."),
    "sources.web.revision": ("refs/pr/1", "v1.0", "a_b-c"),
    "models.a.aliases": ([], ["Llama-2-70b-chat-hf"]),
    "models.a.hidden_size": (1, 2**63 - 1),
    "heads": ([],),
    "heads.0.training": ({}, {"epochs": 0, "final_kl": 0}),
}


def changed(path: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = document
    for part in parents:
        place = place[part]
    place[last] = value
    return document


def corpus() -> Iterator[tuple[str, dict[str, Any], bool]]:
    yield "whole", GOOD, True
    yield "smallest", {"version": 1}, True
    yield "no version", {"models": {}}, False
    yield "unknown section", {"version": 1, "more": {}}, False
    for name in ("a/b", "", "a--to--b", "é"):
        yield f"alias {name!r}", {"version": 1, "models": {name: {}}}, False
        if name != "a--to--b":
            yield f"source {name!r}", {"version": 1, "sources": {name: {"path": "x"}}}, False
    for valid, table in ((False, BAD_VALUES), (True, GOOD_VALUES)):
        for path, values in table.items():
            for value in values:
                yield f"{path}={value!r}"[:60], changed(path, value), valid


CORPUS = list(corpus())


def loads(document: dict[str, Any]) -> bool:
    try:
        parse_catalog(json.dumps(document, ensure_ascii=False), file="f", base=Path("/base"))
    except CatalogError:
        return False
    return True


@pytest.mark.parametrize(
    ("document", "valid"), [case[1:] for case in CORPUS], ids=[case[0] for case in CORPUS]
)
def test_loader_and_schema_agree(document: dict[str, Any], valid: bool) -> None:
    """A catalog that the schema's readers take is one that the loader takes, and the other way round."""
    assert loads(document) is valid

    jsonschema = pytest.importorskip("jsonschema")
    assert jsonschema.Draft7Validator(catalog_json_schema()).is_valid(document) is valid


def test_schema_is_a_schema() -> None:
    """The schema itself obeys the draft it names, and is plain JSON."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(json.dumps(catalog_json_schema()))

    assert jsonschema.Draft7Validator.META_SCHEMA["$schema"] == schema["$schema"]
    jsonschema.Draft7Validator.check_schema(schema)


def test_built_in_catalog_obeys_the_schema() -> None:
    """An editor finds no fault in the catalog that specreg brings, nor in what specreg writes."""
    jsonschema = pytest.importorskip("jsonschema")
    yaml = pytest.importorskip("yaml")
    validator = jsonschema.Draft7Validator(catalog_json_schema())

    validator.validate(yaml.safe_load(builtin_catalog_path().read_text(encoding="utf-8")))
    validator.validate(yaml.safe_load(dump_catalog(load_catalog(environ={}))))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every part of a schema that describes an object with named keys."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)


def test_every_object_is_closed_and_every_key_explained() -> None:
    """No object takes unknown keys, and every key has a description for the editor to show."""
    found = list(objects(catalog_json_schema()))

    assert len(found) == 8
    for schema in found:
        assert schema["additionalProperties"] is False
        assert [key for key, field in schema["properties"].items() if not field.get("description")] == []


def test_every_reference_leads_somewhere() -> None:
    """What the schema refers to, it defines."""
    schema = catalog_json_schema()
    text = json.dumps(schema)
    used = {part.split('"')[0] for part in text.split('"$ref": "#/definitions/')[1:]}

    assert used == set(schema["definitions"])


@pytest.mark.parametrize(
    ("table", "record", "beside"),
    [
        (SOURCE, Source, {"base"}),
        (TOKENIZER, TokenizerFamily, set()),
        (MODEL, Model, {"alias", "base"}),
        (HEAD, Head, set()),
        (TRAINING, TrainingSummary, set()),
        (CALIBRATION, Calibration, set()),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_table_and_record_have_the_same_fields(table: Table, record: type[Record], beside: set[str]) -> None:
    """Each key of the file has its field in the record, required alike, and no field is without a key."""
    fields = {field.alias or name: field for name, field in record.model_fields.items() if name not in beside}

    assert {key: field.required for key, field in table.fields.items()} == {
        key: field.is_required() for key, field in fields.items()
    }
