"""Names for the versions we write, such that repeating a write names the same version again."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from typing import Final

from rotator.secret import Secret

# Any fixed UUID does; it only keeps our names apart from everybody else's.
_NAMESPACE: Final = uuid.UUID("6f0d4c2e-50c7-5c59-9b1c-2d3f6b1a7e44")


def write_id(*, place: str, purpose: str, rotation: str, base: str, token: Secret | None = None) -> str:
    """A UUIDv5 of everything that decides what is written: equal arguments mean equal content.

    The token goes in only as an HMAC keyed by rotation, place and base version, truncated to the 122 bits
    of a UUID together with the rest. A token has more than 130 random bits, so neither knowing the key nor
    trying guesses leads back to it, and the same token gets unrelated names in different rotations.
    """
    digest = ""
    if token is not None:
        key = f"{rotation}\n{place}\n{base}".encode()
        digest = hmac.new(key, token.reveal().encode(), hashlib.sha256).hexdigest()
    return str(uuid.uuid5(_NAMESPACE, f"{place}\n{purpose}\n{rotation}\n{base}\n{digest}"))
