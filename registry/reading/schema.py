"""The schema of a catalog as JSON Schema, for editors: they complete keys and mark faults as one types.

What it cannot say only the loader checks: names that have to exist, aliases claimed twice, unquoted words
that versions of YAML read differently.
"""

from __future__ import annotations

from typing import Any

from registry.reading.fields import (
    CALIBRATION,
    HEAD,
    LARGEST_INT,
    MODEL,
    OUTLOOK,
    SECTIONS,
    SOURCE,
    TOKENIZER,
    TRAINING,
    Flag,
    Kind,
    Listing,
    Real,
    Table,
    Text,
    Whole,
)


def catalog_json_schema() -> dict[str, Any]:
    """The schema of a catalog file as JSON Schema, in draft 7, which editors know."""
    properties: dict[str, Any] = {"version": {"description": "Version of this format.", "const": 1}}
    for section, (key, table, about) in SECTIONS.items():
        properties[section] = {
            "description": about,
            "type": "object",
            "propertyNames": _json_kind(key),
            "additionalProperties": {"$ref": f"#/definitions/{table.name}"},
        }
    properties["heads"] = {"description": "Heads.", "type": "array", "items": {"$ref": "#/definitions/head"}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "specreg catalog",
        "description": "Models, and the acceptance prediction heads trained between them.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version"],
        "properties": properties,
        "definitions": {
            table.name: _json_kind(table)
            for table in (SOURCE, TOKENIZER, MODEL, HEAD, TRAINING, CALIBRATION, OUTLOOK)
        },
    }


def _json_kind(kind: Kind) -> dict[str, Any]:  # noqa: PLR0911 - one answer per kind
    match kind:
        case Text():
            return {
                "type": "string",
                "pattern": f"^(?:{kind.pattern})(?!\\n)$",
                "minLength": 1,
                "maxLength": kind.longest,
                "description": f"{kind.expected[0].upper()}{kind.expected[1:]}.",
            }
        case Whole(only=None):
            return {"type": "integer", "minimum": kind.least, "maximum": LARGEST_INT}
        case Whole():
            return {"const": kind.only}
        case Real(least=None):
            return {"type": "number"}
        case Real():
            return {"type": "number", "minimum": kind.least}
        case Flag():
            return {"type": "boolean"}
        case Listing():
            return {"type": "array", "items": _json_kind(kind.item), "uniqueItems": True}
        case Table():
            return _json_table(kind)


def _json_table(table: Table) -> dict[str, Any]:
    properties = {}
    for key, field in table.fields.items():
        kind = field.kind
        body = {"$ref": f"#/definitions/{kind.name}"} if isinstance(kind, Table) else _json_kind(kind)
        properties[key] = {**body, "description": field.about}
    schema: dict[str, Any] = {
        "description": table.about,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    required = [key for key, field in table.fields.items() if field.required]
    if required:
        schema["required"] = required
    if table.places:
        schema.update(_json_places(table.fewest))
    return schema


def _json_places(fewest: int) -> dict[str, Any]:
    """`hub` stands alone, `path` alone or inside `package`, and only `hub` has a `revision`."""
    alone = {"not": {"anyOf": [{"required": ["package"]}, {"required": ["path"]}]}}
    rules: dict[str, Any] = {"dependencies": {"hub": alone, "revision": ["hub"]}}
    if fewest:
        rules["anyOf"] = [{"required": [key]} for key in ("hub", "package", "path")]
    return rules
