"""What the settings accept, one function for each kind of value.

Each raises ValueError with the end of a sentence that begins with the setting's name: what is wrong,
then what is accepted. Values that may hold a password are never repeated.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from rotator.secret import Secret, scrub
from rotator.urls import Network, is_loopback, is_web_url

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SHORTEST_LEASE: Final = 1.0
_LONGEST_LEASE: Final = 3600.0
_MOST_ROTATIONS: Final = 1000
_SHOWN: Final = 60


@dataclass(frozen=True)
class Listen:
    """Where `serve` listens."""

    host: str
    """Empty: every address of this machine."""
    port: int
    """0: any free port."""

    @classmethod
    def parse(cls, text: str) -> Listen:
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]*)):([0-9]{1,5})", text)
        if match is None or int(match[3]) > 65535:
            raise ValueError(f"is {_quoted(text)}; accepted: host:port such as 127.0.0.1:8080 or [::1]:8080")
        return cls(host=match[1] or match[2] or "", port=int(match[3]))

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it."""
        return is_loopback(self.host)


@dataclass(frozen=True)
class Journal:
    """Where the journal is."""

    shown: str
    """For people; never with a password."""
    sqlite_path: Path | None
    """None for PostgreSQL."""
    url: Secret | None
    """None for SQLite, whose address holds no password and may be shown to everybody."""

    @classmethod
    def parse(cls, text: str, base: Path) -> Journal:
        """`base` is where a relative SQLite path starts."""
        accepted = "accepted: sqlite:///relative, sqlite:////absolute or postgresql://user@host/database"
        if text.startswith("sqlite:"):
            path = text.removeprefix("sqlite:///")
            if path == text or not path or path.endswith("/") or path == ":memory:" or "\0" in path:
                raise ValueError(f"is not the address of a journal; {accepted}")
            return cls(shown=f"sqlite:///{base / path}", sqlite_path=base / path, url=None)
        try:
            parts = _split(text)
        except ValueError:
            raise ValueError(f"is not the address of a journal; {accepted}") from None
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.path.strip("/"):
            raise ValueError(f"is not the address of a journal; {accepted}")
        if parts.password:
            # Registered for the scrubber: a driver's error text may hold the password alone.
            Secret(unquote(parts.password))
        for pair in parts.query.split("&"):  # not `parse_qs`: libpq takes a plus sign for itself
            name, _, value = pair.partition("=")
            if name in ("password", "sslpassword") and value:
                Secret(unquote(value))
        user = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(shown=f"postgresql://{user}{host}{port}{parts.path}", sqlite_path=None, url=Secret(text))


def has_password(url: str) -> bool:
    """Whether the address of a journal holds a password; one that cannot be taken apart might."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return ":" in parts.netloc.rpartition("@")[0] or "password" in parse_qs(
        parts.query, keep_blank_values=True
    )


def duration(text: str) -> float:
    """Seconds, more than none."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise ValueError(f"is {_quoted(text)}; accepted: a duration such as 15s or 2m (units s, m, h, d, w)")
    return seconds


def lease(text: str) -> float:
    """Seconds."""
    seconds = duration(text)
    if not _SHORTEST_LEASE <= seconds <= _LONGEST_LEASE:
        raise ValueError(f"is {_quoted(text)}; accepted: a duration from 1s to 1h")
    return seconds


def rotate_limit(text: str) -> int:
    """Calls in any 60 seconds."""
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= _MOST_ROTATIONS:
        raise ValueError(f"is {_quoted(text)}; accepted: a whole number from 1 to {_MOST_ROTATIONS}")
    return int(text)


def one_of(*accepted: str) -> Callable[[str], str]:
    """A word of a list, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in accepted:
            raise ValueError(f"is {_quoted(text)}; accepted: {', '.join(accepted)}")
        return text.lower()

    return parse


def names(text: str) -> tuple[str, ...]:
    """Words separated by commas or spaces."""
    return tuple(re.split(r"[,\s]+", text.strip(", \t\n")))


def api_url(text: str) -> str:
    """An https URL, or http on loopback."""
    accepted = "accepted: https://host/path, or http:// on a loopback address"
    parts = _bare(text, ("https", "http"), accepted)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError(f"would send the team token unencrypted over a network; {accepted}")
    return text.rstrip("/")


def networks(text: str) -> tuple[Network, ...]:
    """Networks (`10.0.0.0/8`) or single addresses, separated by commas or spaces."""
    found = []
    for one in names(text):
        try:
            found.append(ipaddress.ip_network(one))
        except ValueError:
            raise ValueError(
                f"names {_quoted(one)}; accepted: networks such as 10.0.0.0/8, separated by commas"
            ) from None
    return tuple(found)


def pagerduty_url(text: str) -> str:
    """Where PagerDuty takes events: the service region has a host of its own."""
    if not is_web_url(text):
        raise ValueError("is not a usable URL; accepted: https://events.eu.pagerduty.com/v2/enqueue, say")
    return text


def vault_address(text: str) -> str:
    """Vault's own variable: http is the operator's choice there."""
    _bare(text, ("https", "http"), "accepted: https://host:port")
    return text.rstrip("/")


def vault_mount(text: str) -> str:
    """Where a way to log in is mounted, with or without the `auth/` before it."""
    path = text.strip("/").removeprefix("auth/")
    if not re.fullmatch(r"[^\s/?#%]+(?:/[^\s/?#%]+)*", path) or {".", ".."} & set(path.split("/")):
        raise ValueError(f"is {_quoted(text)}; accepted: the path of an auth method, such as approle")
    return path


def smtp_url(text: str) -> str:
    """`smtps://host:port` or `smtp://host:port`, always with the port."""
    accepted = "accepted: smtps://host:465, or smtp://host:587 for STARTTLS"
    parts = _bare(text, ("smtps", "smtp"), accepted)
    if parts.path.strip("/"):
        raise ValueError(f"has a path; {accepted}")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or (465 if parts.scheme == 'smtps' else 587)}"


def team_token_problem(token: Secret) -> str | None:
    """Formats: SDK 3.2.0, `_core.py`."""
    if token.is_team_token:
        return None
    if token.is_project_token:
        return "holds a project token; accepted: the team token, which begins with lm_team_"
    return "is not a Lettermint team token; accepted: lm_team_ and letters and digits"


def _bare(text: str, schemes: tuple[str, ...], accepted: str) -> SplitResult:
    """A URL of a scheme, without credentials, query and fragment."""
    try:
        parts = _split(text)
    except ValueError:
        raise ValueError(f"is not a URL; {accepted}") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"is not a URL of the kind needed here; {accepted}")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError(f"holds credentials, a query or a fragment; {accepted}")
    return parts


def _split(text: str) -> SplitResult:
    parts = urlsplit(text)
    # `port` is parsed when asked for, and raises ValueError for nonsense.
    if parts.port == 0 or not text.isprintable() or " " in text:
        raise ValueError("not a URL")
    return parts


def _quoted(text: str) -> str:
    """Somebody may have put a secret in the wrong place."""
    return repr(scrub(text)[:_SHOWN])
