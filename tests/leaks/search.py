"""Looks for secrets in bytes, in every form in which programs are known to write them down."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote

TAIL = 16
"""The end of a token is looked for by itself, so that a token that was cut is found as well."""


def forms(secret: str) -> set[bytes]:
    """Text, base64 in its three alignments and two alphabets, URL-quoted, hex, and escaped as in JSON."""
    raw = secret.encode()
    every = "".join(f"%{byte:02X}" for byte in raw)
    found = {
        raw,
        raw[::-1],
        quote(secret, safe="").encode(),
        every.encode(),
        every.lower().encode(),
        raw.hex().encode(),
        raw.hex().upper().encode(),
        raw.hex(" ").encode(),
        json.dumps(secret)[1:-1].encode(),
        "".join(f"\\u{ord(one):04x}" for one in secret).encode(),
        secret.encode("utf-16-le"),
    }
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        # Without the characters that neighbours decide.
        core = encoded[(0, 2, 3)[shift] : len(encoded) - (1 if (len(raw) + shift) % 3 else 0)]
        found |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def pieces(secret: str) -> set[str]:
    """The secret, and its end."""
    return {secret, secret[-TAIL:]}


def leaks(secrets: Iterable[str], places: Mapping[str, bytes]) -> list[str]:
    """The names of the places where a secret can be read, each with the first form found there."""
    needles = [form for secret in secrets for piece in pieces(secret) for form in forms(piece)]
    assert needles, "nothing to look for"
    found = []
    for name, content in places.items():
        needle = next((one for one in needles if one in content), None)
        if needle is not None:
            place = content.find(needle)
            around = content[max(0, place - 80) : place].decode("utf-8", "replace")
            found.append(f"{name}: …{around}[a secret in the form {needle[:6]!r}…]")
    return found
