"""Puts what pydantic found into our words, at the place where it was written.

pydantic's own messages repeat the rejected input, which may be a credential on the wrong line; nothing
of theirs is shown. What is accepted comes from the JSON Schema, so that both always say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from rotator.policies.document import Path
from rotator.policies.nearest import did_you_mean

_TYPES = {
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys and values",
    "model_type": "must be a mapping of keys and values",
    "model_attributes_type": "must be a mapping of keys and values",
    "too_short": "is an empty list; accepted: at least one",
}


def problems_of(error: ValidationError, data: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Each of pydantic's findings as a place in `data` and a message."""
    for found in error.errors(include_url=False):
        kind, value = found["type"], found.get("input")
        path = _place(found["loc"], data)
        if kind in ("union_tag_not_found", "union_tag_invalid"):
            # Told about the whole mapping, but it is the `type` that is wrong.
            path = (*path, "type")
            kind = "missing" if kind == "union_tag_not_found" else "literal_error"
            value = value.get("type") if isinstance(value, Mapping) else None
        yield path, _message(kind, found.get("ctx", {}), path, value, data, schema)


def _message(
    kind: str, context: Mapping[str, Any], path: Path, value: Any, data: Any, schema: Mapping[str, Any]
) -> str:
    if kind == "policy":
        return str(context["message"])
    if kind == "extra_forbidden":
        keys = [*_properties(_node(path[:-1], data, schema))]
        return f"is not a key that is known here; accepted: {', '.join(keys)}{did_you_mean(path[-1], keys)}"
    if kind in _TYPES:
        return _TYPES[kind]
    accepted = _accepted(_node(path, data, schema))
    if kind == "missing":
        return f"is missing{accepted}"
    if kind == "literal_error":
        choices = _choices(_node(path, data, schema))
        return f"is not a value that is known here{accepted}{did_you_mean(value, choices)}"
    if kind == "string_type" and isinstance(value, int | float):
        return "must be a text; put it in quotes"
    return f"must be a text{accepted}" if kind == "string_type" else f"is not accepted here{accepted}"


def _place(loc: tuple[int | str, ...], data: Any) -> Path:
    """Where pydantic's location is in the file: without the names of the chosen kinds it puts between."""
    path: list[str | int] = []
    for part in loc:
        if part == "[key]" or (isinstance(data, Mapping) and part not in data and data.get("type") == part):
            continue
        path.append(part)
        data = _step(data, part)
    return tuple(path)


def _step(data: Any, part: str | int) -> Any:
    if isinstance(data, Mapping):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _node(path: Path, data: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the schema that describes a place; empty where nothing does.

    At a mapping whose `type` says which of several kinds it is, that kind's; while it says none of
    them, one that stands for all: only its `type` is of use.
    """
    node = _resolved(schema, data, schema)
    for part in path:
        data = _step(data, part)
        if isinstance(part, int):
            below = node.get("items", {})
        else:
            below = _properties(node).get(part, node.get("additionalProperties") or {})
        node = _resolved(below, data, schema)
    return node


def _resolved(node: Mapping[str, Any], data: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in node:
        node = {
            **schema["$defs"][node["$ref"].rpartition("/")[2]],
            **{k: v for k, v in node.items() if k != "$ref"},
        }
    if "oneOf" in node:
        kinds = [_resolved(kind, None, schema) for kind in node["oneOf"]]
        chosen = data.get("type") if isinstance(data, Mapping) else None
        for kind in kinds:
            if kind["properties"]["type"]["const"] == chosen:
                return kind
        names = [kind["properties"]["type"]["const"] for kind in kinds]
        return {"type": "object", "properties": {"type": {"enum": names}}}
    return node


def _properties(node: Mapping[str, Any]) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = node.get("properties", {})
    return properties


def _choices(node: Mapping[str, Any]) -> list[str]:
    return [str(choice) for choice in node.get("enum", [node["const"]] if "const" in node else [])]


def _accepted(node: Mapping[str, Any]) -> str:
    choices = _choices(node)
    if choices:
        return f"; accepted: {', '.join(choices)}"
    if node.get("type") == "string" and node.get("examples"):
        return f"; accepted: a text such as {node['examples'][0]}"
    if node.get("type") == "array":
        return "; accepted: a list of at least one"
    return ""
