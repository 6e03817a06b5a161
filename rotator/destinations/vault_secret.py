"""One path of a KV version 2 engine: its versions, and the calls on them. No library is imported here.

Facts, seen on Vault 1.8.0-dev and OpenBao 2.6.2:

- A secret is a map of fields. The server itself sorts them by name and reads numbers as 64-bit floats
  (12345678901234567890 comes back as 12345678901234567000, 1.50 as 1.5) before anybody gets to see them. What it shows
  is kept as text here and written back as it came.
- A write with `cas` = n succeeds only while n is the newest version, deleted or not; 0 stands for none. Of many at
  once one succeeds. A write is refused for its `cas` only after it was allowed.
- A deleted or destroyed version reads as 404, with a body that names it; a path without versions as 404 without one.
- Version numbers begin anew after the metadata was deleted, so a version's name holds its time as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from rotator.clock import Clock
from rotator.destinations import document
from rotator.destinations.base import DestinationRefused
from rotator.destinations.vault_errors import DATA, DELETE, PATCH, Call, Lost, Reply
from rotator.destinations.vault_session import VaultSession
from rotator.errors import Unreachable, VersionConflict

_IMPOSSIBLE: Final = -1
"""No version has this number."""
_PAUSES: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 2.4)
"""Seconds between looks after a write: a standby that serves reads may be behind for a moment."""


class Moved(Exception):
    """The secret was not at the version that the write named, and nothing was written."""


@dataclass(frozen=True)
class Version:
    """One version. `text` is its fields as JSON; None where it is deleted or destroyed."""

    number: int
    made: str
    """When, as the server wrote it."""
    text: str | None = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.number}@{self.made}"


class VaultSecret:
    """Calls on one path. `where` names it for people."""

    def __init__(self, session: VaultSession, clock: Clock, *, mount: str, path: str, where: str) -> None:
        self._session = session
        self._clock = clock
        self._mount = mount
        self._data = f"{mount}/data/{path}"
        self._metadata = f"{mount}/metadata/{path}"
        self.where = where

    def fetch(self, number: int | None = None) -> Version | None:
        """The current version, or that of a number; None where there is none. Refuses what is no KV version 2."""
        reply = self._session.call(Call("GET", self._data, self.where, DATA), version=number)
        data = reply.json().get("data")
        metadata = data.get("metadata") if isinstance(data, dict) else None
        if isinstance(metadata, dict) and isinstance(metadata.get("version"), int):
            return Version(metadata["version"], str(metadata.get("created_time", "")), self._fields(reply))
        self._session.require_kv2(self._mount, self.where)
        if data is None and reply.is_nothing:
            return None
        raise DestinationRefused(
            f"{self.where} cannot be used: what answers there is not KV version 2",
            then="Nothing was changed",
            remedy="Check VAULT_ADDR and `mount`",
        )

    def put(self, text: str, *, base: Version | None, ours: Callable[[Version], bool]) -> None:
        """Writes the fields as the next version after `base` (None: as the first one), and waits until readers get it.

        A write whose answer got lost is sent once more, which its `cas` makes safe, and then looked up: `ours` tells a
        version that holds what we write. Raises `Moved`, and `Lost` where it stays unknown.
        """
        at = base.number if base is not None else 0
        accepted = refused = False
        lost: Lost | None = None
        for _ in range(2):
            try:
                self._write(text, cas=at)
                accepted = True
            except Moved:
                refused = True
            except Lost as error:
                lost = error
            if accepted or refused:
                break
        for _ in self._looks():
            now = self.fetch()
            if now is not None and now.number > at:
                if ours(now):
                    return
                raise Moved
            if lost is not None and not accepted and not refused:
                raise lost  # twice no answer, and no trace of it: no waiting for what may never have arrived
            if refused and now is None and base is not None:
                raise Moved  # deleted with all its versions
        if refused and lost is None:
            raise Moved
        raise self._behind()

    def _write(self, text: str, *, cas: int) -> None:
        # Text and not a decoded document, so that every other field is what it was.
        body = f'{{"options": {{"cas": {cas}}}, "data": {text}}}'
        reply = self._session.call(Call("POST", self._data, self.where, DATA), body=body)
        if reply.is_cas_mismatch:
            raise Moved

    def prove_writable(self, text: str) -> None:
        """Writes at a version that cannot be, so that it is allowed or not, and never executed. `text` is what stands
        there, in case something between here and Vault should take the condition away."""
        try:
            self._write(text, cas=_IMPOSSIBLE)
        except Moved:
            return
        raise DestinationRefused(
            f"{self.where} took a write that it had to refuse: check-and-set does not work there",
            then="Its fields are what they were, in a version more",
            remedy="Look for a proxy between here and Vault that changes requests",
        )

    def purge(self) -> None:
        """Removes the path with all its versions. Repeatable."""
        call = Call("DELETE", self._metadata, self.where, DELETE)
        try:
            self._session.call(call)
        except Lost:
            self._session.call(call)

    def annotate(self, notes: Mapping[str, str]) -> None:
        """Adds to the custom metadata; other entries stay. A server before 1.9 keeps none, and may say so."""
        body = json.dumps({"custom_metadata": dict(notes)})
        self._session.call(Call("PATCH", self._metadata, self.where, PATCH), body=body)

    def conflict(self) -> VersionConflict:
        """The error for a current version that is not the one we based our write on."""
        return VersionConflict(
            f"{self.where} was changed by somebody else meanwhile",
            then="Their change was left as it is",
            remedy="Read it again and write on top of it",
        )

    def _behind(self) -> Unreachable:
        """The error for a write that happened and cannot be read yet."""
        return Unreachable(
            f"{self.where} was written, and what answers reads does not show it yet",
            then="Repeating it is safe",
            remedy="Try again in a minute; look for a standby that is far behind",
        )

    def _looks(self) -> Iterator[None]:
        """At once, then after growing pauses; about 6 s in all."""
        yield
        for pause in _PAUSES:
            self._clock.wait(pause)
            yield

    def _fields(self, reply: Reply) -> str | None:
        """The fields as the server wrote them; None for a deleted version."""
        problem: Exception
        try:
            data = document.get_field(reply.text, "data", document.JSON)
            return document.get_field(data or "", "data", document.JSON)
        except document.Malformed as error:
            problem = DestinationRefused(
                f"{self.where} cannot be used: {error.why}", then="Nothing was changed", remedy=error.remedy
            )
        raise problem
