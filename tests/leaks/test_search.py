"""The search itself: what it must find, and what it must not take for a leak."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.crash.harness import Nursery
from tests.leaks.search import leaks
from tests.leaks.watched import AWS_KEY, MARKER, PASSWORD, watched

TOKEN = "lm_" + MARKER + "q7Zx" * 5
WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": lambda token: token,
    "in JSON": lambda token: json.dumps({"Authorization": f"Bearer {token}"}),
    "in base64": lambda token: base64.b64encode(token.encode()).decode(),
    "in base64 after one byte": lambda token: base64.b64encode(f"\0{token}\0".encode()).decode(),
    "in base64 after two bytes": lambda token: base64.b64encode(f"u:{token}!".encode()).decode(),
    "in base64 for URLs": lambda token: base64.urlsafe_b64encode(f"user:{token}".encode()).decode(),
    "in hex": lambda token: token.encode().hex(),
    "in hex, upper case": lambda token: token.encode().hex().upper(),
    "URL-quoted": lambda token: quote(token, safe=""),
    "URL-quoted, every character": lambda token: "".join(f"%{ord(one):02x}" for one in token),
    "its last characters": lambda token: f"…{token[-18:]}",
    "backwards": lambda token: token[::-1],
}


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("secret", [TOKEN, PASSWORD, AWS_KEY], ids=["token", "password", "aws key"])
def test_a_planted_secret_is_found(form: str, secret: str) -> None:
    """In every form in which a program might write it down, with anything around it."""
    content = f"2026-11-21 info {WRITTEN[form](secret)} end".encode()
    assert len(leaks([secret], {"a log": content})) == 1


def test_what_is_no_secret_is_not_found() -> None:
    """A fingerprint, another token and the marker alone are no leak."""
    content = f"fp_0123456789abcdef0123 lm_{'B' * 32} {MARKER} [secret]".encode()
    assert leaks([TOKEN], {"a log": content}) == []


@pytest.mark.parametrize(
    "place", ["state/journal.db-wal", "state/deep/core", "tmp/traceback", "store/left.tmp", "policies/x"]
)
def test_every_file_is_searched(tmp_path: Path, nursery: Nursery, place: str) -> None:
    """A token planted in any file but a destination and its side file is found."""
    with watched(tmp_path, nursery, "json") as site:
        billing = site.add()
        assert site.leaks() == []
        planted = tmp_path / place
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_bytes(b"\xff\0" + billing.first.reveal().encode())
        assert [leak.partition(":")[0] for leak in site.leaks()] == [place]


def test_what_is_printed_is_searched(tmp_path: Path, nursery: Nursery) -> None:
    """A token printed by a command is found, whichever stream it went to."""
    with watched(tmp_path, nursery, "json") as site:
        token = site.add().first.reveal()
        site.printed |= {"stdout": token.encode(), "stderr": b"x" + base64.b64encode(token.encode())}
        assert [leak.partition(":")[0] for leak in site.leaks()] == ["stdout", "stderr"]
