"""Answers from the audit log: when was this token ours, and what happened last?

Reading does not check the chain; `chain.verify` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rotator.audit.base import unreadable
from rotator.audit.line import MAX_LINE, NotGenuine, parse
from rotator.audit.tail import EndlessLine, read_tail
from rotator.errors import AuditUnavailable
from rotator.secret import scrub

Event = Mapping[str, Any]

_SHOWN: Final = 200
"""Characters of a line that is no event."""


@dataclass(frozen=True)
class TokenHistory:
    """What the log knows of one token. Times as the log has them, RFC 3339 UTC."""

    fingerprint: str
    events: tuple[Event, ...]
    """All that mention it, in the order of time."""
    unreadable: int
    """Lines that are no events and could not be searched."""

    @property
    def ours(self) -> bool:
        return bool(self.events)

    @property
    def policies(self) -> tuple[str, ...]:
        return tuple(sorted({str(event["policy"]) for event in self.events if event.get("policy")}))

    @property
    def projects(self) -> tuple[str, ...]:
        return tuple(sorted({str(event["project"]) for event in self.events if event.get("project")}))

    @property
    def minted_at(self) -> str | None:
        """When rotator got it from the provider."""
        return self._first("mint.token.outcome", executed=True)

    @property
    def adopted_at(self) -> str | None:
        """When rotator first met it; None for one that rotator minted."""
        if (
            self.minted_at is not None
            or not self.events
            or self._first("publish.destination.outcome", ok=True)
        ):
            return None
        return str(self.events[0].get("at"))

    @property
    def published_at(self) -> str | None:
        """When the first destination served it; for an adopted one that was before our time."""
        return self._first("publish.destination.outcome", ok=True)

    @property
    def dead_at(self) -> str | None:
        """When it was presented and refused; it may have died earlier."""
        return self._first("token.prove-dead", answer="dead") or self._first("token.found-dead")

    def _first(self, name: str, **data: object) -> str | None:
        wanted = {"fingerprint": self.fingerprint, **data}
        for event in self.events:
            if event.get("event") == name and wanted.items() <= dict(event["data"]).items():
                return str(event.get("at"))
        return None

    def as_json(self) -> dict[str, Any]:
        """The JSON of `rotator audit search -o json`."""
        return {
            "fingerprint": self.fingerprint,
            "ours": self.ours,
            "policies": list(self.policies),
            "projects": list(self.projects),
            "minted_at": self.minted_at,
            "adopted_at": self.adopted_at,
            "published_at": self.published_at,
            "dead_at": self.dead_at,
            "unreadable": self.unreadable,
            "events": [dict(event) for event in self.events],
        }


def search(path: Path, fingerprint: str) -> TokenHistory:
    """Everything the log says about a token; a missing log says nothing.

    Raises AuditMisconfigured or AuditUnavailable when the file cannot be read.
    """
    found: list[Event] = []
    other = 0
    wanted = fingerprint.encode()
    for raw in _read(path):
        event = _event(raw)
        if event is None:
            other += 1
        elif wanted in raw:
            found.append(event)
    # Events that waited for a full disk stand later in the file than they happened.
    found.sort(key=lambda event: str(event["at"]))
    return TokenHistory(fingerprint=fingerprint, events=tuple(found), unreadable=other)


def tail(path: Path, count: int) -> list[Event]:
    """The last events, oldest first; `{"unreadable": …}` stands for a line that is none.

    Raises like `search`; a missing log has no events.
    """
    if count < 1:
        return []
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        lines = read_tail(fd, count).lines
    except OSError as error:
        raise unreadable(path, error) from error
    except EndlessLine as error:
        raise AuditUnavailable(
            f"The end of {path} is not made of lines of an audit log", remedy="Try `rotator audit verify`"
        ) from error
    finally:
        os.close(fd)
    return [_event(raw) or {"unreadable": scrub(raw.decode("utf-8", "replace"))[:_SHOWN]} for raw in lines]


def _event(raw: bytes) -> Event | None:
    try:
        fields = parse(raw)
    except NotGenuine:
        return None
    shape = {"event": str, "at": str, "data": dict}
    return fields if all(isinstance(fields.get(name), kind) for name, kind in shape.items()) else None


def _read(path: Path) -> Iterator[bytes]:
    """Pieces of at most one line's length, so that no file can fill the memory."""
    try:
        with path.open("rb") as file:
            while raw := file.readline(MAX_LINE + 1):
                yield raw
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(path, error) from error
