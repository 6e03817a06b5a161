"""The published JSON Schema agrees with what is accepted, and documents all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from rotator.policies.load import check_policies, json_schema, load_policies

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "policies"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def properties(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        for key, value in node.get("properties", {}).items():
            yield f"{name}.{key}", value
        for key, value in node.items():
            yield from properties(value, key if key not in ("properties", "$defs") else name)


def test_every_field_is_documented() -> None:
    """Each key of the format has a description for editors."""
    found = dict(properties(json_schema()))
    assert len(found) > 60
    assert [name for name, node in found.items() if not node.get("description", "").endswith(".")] == []


def test_the_schema_is_valid_and_closed() -> None:
    """It is a proper draft 2020-12 schema that refuses unknown keys everywhere and has no nulls."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
    assert "null" not in json.dumps(schema)


def test_there_is_an_example_of_every_strategy_and_type() -> None:
    """The examples show each strategy and each type that the format knows."""
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    known = [
        node["const"]
        for name, node in properties(json_schema())
        if name.endswith(".type") and "const" in node
    ]
    assert len(known) >= 10
    assert [word for word in known if f"type: {word}" not in text] == []
    for strategy in ("in-place", "create-before-revoke", "assisted"):
        assert f"strategy: {strategy}" in text


def test_everything_yaml_shows_every_key_of_a_policy() -> None:
    """The full-featured example leaves out no key of a policy, a schedule or a drain."""
    text = (EXAMPLES / "everything.yaml").read_text(encoding="utf-8")
    schema = json_schema()["$defs"]
    keys = [
        *schema["Policy"]["properties"],
        *schema["Schedule"]["properties"],
        *schema["Drain"]["properties"],
    ]
    assert [key for key in keys if f"{key}:" not in text] == ["cron"]


def test_the_readme_names_every_key() -> None:
    """The guide to policies mentions each key of the format."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    keys = {name.rpartition(".")[2] for name, _ in properties(json_schema())} - {"policies", "kind"}
    assert sorted(key for key in keys if not re.search(rf"\b{key}\b", text)) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_example_is_right_by_itself(file: Path) -> None:
    """Every example file passes the checks, without a warning, and the JSON Schema."""
    assert check_policies([file]) == ((), ())
    jsonschema.validate(YAML(typ="safe", pure=True).load(file), json_schema())


def test_the_examples_are_right_together() -> None:
    """The folder of examples can be used as it stands, and README lists each file."""
    loaded = load_policies([EXAMPLES])
    assert loaded.warnings == ()
    assert len(loaded.policies) == len(FILES) >= 7
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [file.name for file in FILES if f"({file.name})" not in readme] == []
