"""A policy file as plain values that remember their lines, and how its problems are named.

YAML is treated as hostile: the depth of nesting and the number of values are bounded (an alias counts
each time it is used), tags, merge keys and further documents are refused, and nothing is constructed
but texts, truth values, numbers, lists and mappings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from rotator.errors import Problem
from rotator.secret import scrub

Path = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top of the file."""

NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""The form of a policy's name."""

_DEEPEST: Final = 20
_MOST_VALUES: Final = 100_000
"""Well above what a thousand policies need."""

# A Lettermint token, of which short forms are left to the names of fields and secrets.
_TOKEN: Final = re.compile(r"lm_(?:team_)?[0-9A-Za-z]{20,}")
_TAG: Final = "tag:yaml.org,2002:"

UNUSABLE: Final = object()
"""Stands for a value whose problem is already noted; no check accepts it, and what they say is dropped."""

# A key is shown only if it cannot be a credential that slipped out of its quotes: no digits, short.
_HARMLESS_KEY: Final = re.compile(r"[A-Za-z][A-Za-z_./-]{0,39}")


@dataclass
class Document:
    """One parsed file. `lines` has an entry for every key and every list item that was written."""

    file: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    _found: dict[Path, tuple[int, str]] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        return [
            Problem(self.file, line, self.label(path), message)
            for path, (line, message) in self._found.items()
        ]

    def add(self, path: Path, message: str, *, line: int | None = None) -> None:
        """Notes a problem. The first one of a place, or of a place around it, stands for all of them."""
        if any(path[:length] in self._found for length in range(1, len(path) + 1)):
            return
        self._found[path] = (self.line(path) if line is None else line, message)

    def line(self, path: Path) -> int:
        """The line of a value, or for a missing one that of what it is missing from."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1

    def label(self, path: Path) -> str:
        """How people name a place: `billing.destinations[0].key`, or `policies[0].name` while unnamed."""
        text = ""
        rest = path
        if len(path) >= 2 and path[0] == "policies" and isinstance(path[1], int):
            name = self.name(path[1])
            if name is not None:
                text, rest = name, path[2:]
        for part in rest:
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                text += f"{'.' if text else ''}{_shown(part)}"
        return text

    def name(self, index: int) -> str | None:
        """The name of a policy, if it has one of the right form."""
        policy = self.policies[index] if index < len(self.policies) else None
        name = policy.get("name") if isinstance(policy, Mapping) else None
        return name if isinstance(name, str) and NAME.fullmatch(name) and scrub(name) == name else None

    @property
    def policies(self) -> Sequence[Any]:
        """What stands under `policies`, right or wrong; nothing if that is no list."""
        listed = self.data.get("policies") if isinstance(self.data, Mapping) else None
        return listed if isinstance(listed, list) else ()


def _shown(key: str) -> str:
    return key if _HARMLESS_KEY.fullmatch(key) and scrub(key) == key else "(a key)"


def parse(file: str, text: str) -> Document:
    """The values of one file, with a problem for everything that is wrong with it as YAML."""
    document = Document(file)
    refusal = _refused_unread(text)
    if refusal is not None:
        document.add((), refusal[1], line=refusal[0])
        return document
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML 1.2 allows to use an anchor's name again
    try:
        root = yaml.compose(text)
        if root is None or _is_null(root):
            document.add((), "is empty; accepted: a mapping with the key `policies`", line=1)
        elif not isinstance(root, MappingNode):
            document.add((), "is not a mapping; accepted: the key `policies` with a list below it", line=1)
        else:
            document.data = _Construction(document, yaml.constructor).value(root, ())
    except _TooMuchError as error:
        document.add((), str(error), line=error.line)
        document.data = None
    except RecursionError:
        document.add((), f"is nested too deeply; accepted: {_DEEPEST} levels", line=1)
    except YAMLError as error:
        line, message = _syntax(error, text)
        document.add((), message, line=line)
    return document


def _refused_unread(text: str) -> tuple[int, str] | None:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("%"):
            return number, "is a YAML directive; accepted: none, policies are YAML 1.2"
        if line.strip() and not line.lstrip().startswith("#"):
            break
    # ruamel looks back at every open bracket of a line for each further one (measured: 9 s for 5000).
    for number, line in enumerate(text.splitlines(), start=1):
        depth = deepest = 0
        for character in re.sub(r"[^][{}]", "", line):
            depth = depth + 1 if character in "[{" else max(0, depth - 1)
            deepest = max(deepest, depth)
        if deepest > 2 * _DEEPEST:
            return number, f"is nested too deeply; accepted: {_DEEPEST} levels"
    return None


def _syntax(error: YAMLError, text: str) -> tuple[int, str]:
    if isinstance(error, ReaderError):
        return text.count("\n", 0, error.position) + 1, "holds a character that YAML does not allow"
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        if error.problem == "but found another document":
            return line, "begins a second YAML document; accepted: one per file"
        return line, f"is not YAML: {scrub(str(error.problem))[:200]}"
    return 1, "is not YAML"


class _TooMuchError(Exception):
    """The file holds more than any policy file needs."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Construction:
    """Makes plain values of YAML's nodes, and notes the line of each."""

    def __init__(self, document: Document, constructor: Any) -> None:
        self._document = document
        self._constructor = constructor
        self._count = 0

    def value(self, node: Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > _MOST_VALUES:
            raise _TooMuchError(
                f"holds more than {_MOST_VALUES} values, those of aliases counted; split it", line
            )
        if len(path) > _DEEPEST:
            raise _TooMuchError(f"is nested too deeply; accepted: {_DEEPEST} levels", line)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        return self._unusable(path, "has a YAML tag; accepted: plain values")

    def _item(self, node: Node, path: Path) -> Any:
        self._document.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._key(key_node, path, line)
            if key is None:
                continue
            here = (*path, key)
            if key in made:
                first = self._document.lines[here]
                self._document.add(here, f"is given twice, first on line {first}; accepted: once", line=line)
                continue
            self._document.lines[here] = line
            made[key] = self.value(value_node, here)
        return made

    def _key(self, node: Node, path: Path, line: int) -> str | None:
        unnamed = f"?{node.start_mark.index}"
        if node.tag == f"{_TAG}merge":
            self._document.add((*path, "<<"), "is a merge key, which YAML 1.2 does not have", line=line)
        elif not isinstance(node, ScalarNode) or node.tag != f"{_TAG}str":
            self._document.add((*path, unnamed), "is a key that is no text; put it in quotes", line=line)
        elif _TOKEN.search(node.value):
            self._document.add((*path, unnamed), _LEAKED, line=line)
        else:
            return str(node.value)
        return None

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        if _TOKEN.search(node.value):
            return self._unusable(path, _LEAKED)
        if _is_null(node):
            return self._unusable(path, "is empty; give it a value or remove it")
        # A date is of no use here, and a number with a leading zero is a file mode, not a decimal.
        if kind in ("str", "timestamp") or (kind == "int" and re.fullmatch("0[0-9]+", node.value)):
            return node.value
        if kind not in ("bool", "int", "float"):
            return self._unusable(path, "has a YAML tag; accepted: plain values")
        try:
            return self._constructor.construct_object(node)
        except (ValueError, ArithmeticError):  # a number beyond all bounds
            return node.value

    def _unusable(self, path: Path, message: str) -> Any:
        self._document.add(path, message)
        return UNUSABLE


_LEAKED: Final = (
    "holds what looks like a Lettermint token; remove it, and rotate that token, because it stood in a file"
)


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == f"{_TAG}null"
