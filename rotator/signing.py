"""Signs what is posted, as Standard Webhooks says (standardwebhooks.com, specification 1.0).

HMAC-SHA256 over `id.timestamp.body`. A receiver checks with any library of that scheme, refuses what is
older than five minutes, and knows a repetition by its id. Several keys, one a line, make several
signatures: so the signing key itself can be rotated.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from rotator.errors import InvalidInput
from rotator.secret import Secret

_PREFIX: Final = "whsec_"
_SHORTEST: Final = 16
"""Bytes; the specification asks for 24 to 64, and a guessable key proves nothing."""


def keys_of(text: Secret) -> tuple[Secret, ...]:
    """The keys in a file's content. Raises InvalidInput for none, and for one that proves nothing."""
    keys = tuple(Secret(line.strip()) for line in text.reveal().splitlines() if line.strip())
    if not keys or any(len(_bytes_of(key)) < _SHORTEST for key in keys):
        raise InvalidInput(
            f"A signing key has fewer than {_SHORTEST} bytes",
            then="Nothing was sent",
            remedy="Put `whsec_` and the base64 of 32 random bytes there, one key a line",
        )
    return keys


def headers(message_id: str, at: int, body: bytes, keys: Sequence[Secret]) -> dict[str, str]:
    """The headers of one message; `at` in seconds since 1970."""
    signed = f"{message_id}.{at}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.new(_bytes_of(key), signed, hashlib.sha256).digest()).decode()
        for key in keys
    ]
    told = {"webhook-id": message_id, "webhook-timestamp": str(at)}
    return {**told, "webhook-signature": " ".join(signatures)} if signatures else told


def _bytes_of(key: Secret) -> bytes:
    text = key.reveal()
    if text.startswith(_PREFIX):
        try:
            return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return b""
    return text.encode("utf-8", "surrogatepass")
