"""Reads policy files: finds every problem of every file at once, or gives the policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from rotator.errors import InvalidPolicies, Problem
from rotator.model import DestinationSpec, Policy, as_written
from rotator.policies import across, build
from rotator.policies.document import Document, parse
from rotator.policies.files import read_all
from rotator.policies.problems import problems_of
from rotator.policies.schedule import parse_duration
from rotator.policies.schema import policy as schema
from rotator.policies.schema.places import Destination
from rotator.rehearsal import REHEARSED, rehearsal_of

_DESTINATION: Final[TypeAdapter[Destination]] = TypeAdapter(Destination)
_SHORT_DRAIN: Final = parse_duration("1h")


@dataclass(frozen=True)
class LoadedPolicies:
    """Policies in the order of their files, and what is allowed but worth a second look."""

    policies: tuple[Policy, ...]
    warnings: tuple[Problem, ...]


def load_policies(paths: Sequence[Path]) -> LoadedPolicies:
    """Reads files and folders of policies; raises InvalidPolicies with everything that is wrong."""
    problems, loaded = _load(paths)
    if problems:
        raise InvalidPolicies(problems)
    return loaded


def check_policies(paths: Sequence[Path]) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """All problems and all warnings, each in file and line order. Needs no credentials."""
    problems, loaded = _load(paths)
    return tuple(sorted(problems)), loaded.warnings


def from_snapshot(snapshot: Mapping[str, Any]) -> Policy:
    """The policy that a rotation began with: `from_snapshot(policy.snapshot) == policy`.

    Looks at nothing but the snapshot. Raises InvalidPolicies if another version of rotator wrote it
    and this one does not understand it.
    """
    written, rehearsed = as_written(snapshot), bool(snapshot.get(REHEARSED))
    written.pop(REHEARSED, None)
    file, line = str(snapshot.get("file", "")), int(snapshot.get("line", 0))
    document = Document(file or "a rotation's snapshot", {"policies": [written]}, {(): line})
    wire = _validate(document, None)
    if wire is None:
        raise InvalidPolicies(document.problems)
    policy = build.policy(wire.policies[0], file=file, line=line)
    return rehearsal_of(policy) if rehearsed else policy


def json_schema() -> dict[str, Any]:
    """The format as JSON Schema, for `rotator schema`."""
    return schema.json_schema()


@cache
def _schema() -> Mapping[str, Any]:
    return schema.json_schema()


def _load(paths: Sequence[Path]) -> tuple[list[Problem], LoadedPolicies]:
    files, problems = read_all(paths)
    folders: dict[str, Path] = {}
    documents: list[Document] = []
    policies: list[Policy] = []
    warnings: list[Problem] = []
    for file in files:
        document = parse(str(file.path), file.text)
        folders[document.file] = file.folder
        documents.append(document)
        if document.data is None:
            continue
        wire = _validate(document, file.folder)
        if wire is not None:
            for index, policy in enumerate(wire.policies):
                line = document.line(("policies", index))
                policies.append(build.policy(policy, file=file.location, line=line))
                warnings += _warnings(document, index, policies[-1])
    across.check(documents, lambda document, written: _destination(written, folders[document.file]))
    for document in documents:
        problems += document.problems
    return problems, LoadedPolicies(tuple(policies), tuple(sorted(warnings)))


def _validate(document: Document, folder: Path | None) -> schema.PolicyFile | None:
    """The file in its checked form; None, and problems in the document, if anything is wrong with it."""
    try:
        wire = schema.PolicyFile.model_validate(document.data, context={"folder": folder})
    except ValidationError as error:
        for path, message in problems_of(error, document.data, _schema()):
            document.add(path, message)
        return None
    return None if document.problems else wire


def _destination(written: Any, folder: Path) -> DestinationSpec | None:
    try:
        return build.destination(_DESTINATION.validate_python(written, context={"folder": folder}))
    except ValidationError:
        return None


def _warnings(document: Document, index: int, policy: Policy) -> list[Problem]:
    found: list[Problem] = []

    def warn(path: tuple[str | int, ...], message: str) -> None:
        path = ("policies", index, *path)
        found.append(Problem(document.file, document.line(path), document.label(path), message))

    if policy.drain.min < _SHORT_DRAIN:
        warn(
            ("drain", "min"),
            "is under 1h; consumers that keep the token longer than this (AWS's caching clients: 1h) "
            "will use it after it died",
        )
    for number, spec in enumerate(policy.destinations):
        if spec.type == "file" and spec.options["mode"] is not None and spec.options["mode"] & 0o007:
            warn(("destinations", number, "mode"), "lets every user of this machine read the token")
    return found
