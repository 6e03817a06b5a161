"""Checks that compare policies with one another: no name, project or secret belongs to two of them.

They look at whatever is right by itself, so that one mistake elsewhere in a policy hides none of these.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rotator.model import DestinationSpec
from rotator.policies import texts
from rotator.policies.document import Document, Path

# AWS adds a hyphen and six characters to the name in an ARN; a partial ARN leaves them out.
_ARN_TAIL: Final = re.compile(r"-[A-Za-z0-9]{6}")

Parser = Callable[[Document, Any], DestinationSpec | None]
"""Reads one written destination; None if something is wrong with it."""


@dataclass(frozen=True)
class _Place:
    document: Document
    path: Path

    def __str__(self) -> str:
        return f"{self.document.label(self.path)} ({self.document.file}:{self.document.line(self.path)})"


@dataclass(frozen=True)
class _Identity:
    """Which secret a destination names; None where that is not known from the policy alone."""

    region: str | None = None
    account: str | None = None

    def may_equal(self, other: _Identity) -> bool:
        return all(
            None in (mine, theirs) or mine == theirs
            for mine, theirs in ((self.region, other.region), (self.account, other.account))
        )


def check(documents: Iterable[Document], parse: Parser) -> None:
    """Adds what it finds to the documents, at the later of two places."""
    listed = list(documents)
    _names(listed)
    _projects(listed)
    _destinations(listed, parse)


def _policies(documents: Iterable[Document]) -> Iterator[tuple[Document, Path, Mapping[str, Any]]]:
    for document in documents:
        for index, policy in enumerate(document.policies):
            if isinstance(policy, Mapping):
                yield document, ("policies", index), policy


def _names(documents: list[Document]) -> None:
    seen: dict[str, _Place] = {}
    for document, path, _ in _policies(documents):
        name = document.name(path[1]) if isinstance(path[1], int) else None
        place = _Place(document, (*path, "name"))
        if name is not None and name in seen:
            first = seen[name]
            where = f"{first.document.file}:{first.document.line(first.path)}"
            document.add(
                place.path, f"is also the name of the policy at {where}; accepted: a name of its own"
            )
        elif name is not None:
            seen[name] = place


def _projects(documents: list[Document]) -> None:
    rotated: dict[str, _Place] = {}
    rehearsed: list[tuple[str, _Place]] = []
    for document, path, policy in _policies(documents):
        own = ("rehearsal", "project")
        for keys in (("project",), ("standby", "project"), own, ("rehearsal", "standby", "project")):
            project = _project(policy, keys)
            place = _Place(document, (*path, *keys))
            if project is None:
                continue
            if keys[0] == "rehearsal":
                rehearsed.append((project, place))
                if keys != own and project == _project(policy, own):
                    document.add(place.path, "is the rehearsal's own project; accepted: another one")
            elif project in rotated:
                document.add(
                    place.path,
                    f"is the same project as {rotated[project]}; accepted: each project in one place",
                )
            else:
                rotated[project] = place
    for project, place in rehearsed:
        if project in rotated:
            place.document.add(
                place.path, f"is the same project as {rotated[project]}; accepted: one that no policy rotates"
            )


def _project(policy: Any, keys: tuple[str, ...]) -> str | None:
    for key in keys:
        policy = policy.get(key) if isinstance(policy, Mapping) else None
    try:
        return texts.project_id(policy) if isinstance(policy, str) else None
    except ValueError:
        return None


def _destinations(documents: list[Document], parse: Parser) -> None:
    seen: dict[tuple[str, str], list[tuple[_Identity, _Place]]] = defaultdict(list)
    for document, policy_path, policy in _policies(documents):
        for below, written in _written(policy):
            spec = parse(document, written)
            if spec is None:
                continue
            place = _Place(document, (*policy_path, *below))
            identity, names = _identify(spec)
            first = _first(names, spec.type, identity, seen)
            if first is not None:
                document.add(place.path, _same(identity, *first))
            for name in names:
                seen[spec.type, name].append((identity, place))


def _written(policy: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    standby, rehearsal = policy.get("standby"), policy.get("rehearsal")
    yield from _items(("destinations",), policy)
    if isinstance(standby, Mapping) and "token" in standby:
        yield ("standby", "token"), standby["token"]
    if isinstance(rehearsal, Mapping):
        yield from _items(("rehearsal", "destinations"), rehearsal)
        bridge = rehearsal.get("standby")
        if isinstance(bridge, Mapping) and "token" in bridge:
            yield ("rehearsal", "standby", "token"), bridge["token"]


def _items(path: Path, holder: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    listed = holder.get("destinations")
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        yield (*path, index), item


def _identify(spec: DestinationSpec) -> tuple[_Identity, list[str]]:
    """Which secret a spec names: what is compared, and the names under which it may be known."""
    if spec.type == "file":
        # Two paths may lead to one file through links; what counts is where a write ends up.
        return _Identity(), [os.path.realpath(spec.options["path"])]
    if spec.type != "aws-secrets-manager":
        return _Identity(), [spec.place]
    arn = texts.SECRET_ARN.fullmatch(spec.options["secret_id"])
    if arn is None:
        return _Identity(region=spec.options["region"]), [spec.options["secret_id"]]
    name = arn["name"]
    # A partial ARN may itself end like a whole one: both readings count.
    names = {name, name[:-7]} if len(name) > 7 and _ARN_TAIL.fullmatch(name[-7:]) else {name}
    return _Identity(region=arn["region"], account=arn["account"]), sorted(names)


def _first(
    names: list[str],
    type_: str,
    identity: _Identity,
    seen: Mapping[tuple[str, str], list[tuple[_Identity, _Place]]],
) -> tuple[_Identity, _Place] | None:
    for name in names:
        for other, place in seen.get((type_, name), ()):
            if identity.may_equal(other):
                return other, place
    return None


def _same(identity: _Identity, other: _Identity, place: _Place) -> str:
    if identity.region != other.region:
        return f"may be the same secret as {place}; accepted: `region` given in both, and different"
    return (
        f"is the same secret as {place}; accepted: each secret in one place (`key` does not tell them apart)"
    )
