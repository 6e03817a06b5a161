"""The one type that may hold a credential, and the only form of it that may be written down.

A `Secret` shows nothing in `str`, `repr`, `format`, JSON, pickles or comparisons of text.
`Secret.reveal()` is the single way to the plaintext: `grep -rn 'reveal()'` lists every place that
handles one. Every secret also registers itself with the scrubber, which removes its value from
whatever is about to be printed or logged (`scrub`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
from typing import Final, NoReturn
from urllib.parse import quote

MASK: Final = "[secret]"

# Vendor formats (Lettermint SDK 3.2.0 `_core.py`; Team API introduction). A project token has 32 or
# 22 random letters and digits today; the vendor's own pattern sets no length, so neither do we.
PROJECT_TOKEN: Final = re.compile(r"lm_[0-9A-Za-z]+")
TEAM_TOKEN: Final = re.compile(r"lm_team_[0-9A-Za-z]+")
# Anything that looks like one of the vendor's secrets, for the scrubber: prefix and a long tail.
_LOOKS_LIKE_TOKEN: Final = re.compile(r"lm_[A-Za-z0-9_]{16,}|whsec_[A-Za-z0-9+/=_-]{8,}")

_FINGERPRINT_DIGITS: Final = 20


class Secret:
    """A credential. Equality is by value and in constant time; the hash is of the identity only."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        _scrubber.add(value)

    def reveal(self) -> str:
        """The plaintext. For the moment of use only; never store, log or format the result."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(hashlib.sha256(self._value.encode()).digest())

    def __bool__(self) -> bool:
        return bool(self._value)

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __format__(self, format_spec: str) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied out of the process")

    @property
    def is_project_token(self) -> bool:
        """Whether the value has the shape of a Lettermint project token."""
        return PROJECT_TOKEN.fullmatch(self._value) is not None

    @property
    def is_team_token(self) -> bool:
        """Whether the value has the shape of a Lettermint team token."""
        return TEAM_TOKEN.fullmatch(self._value) is not None


class Fingerprinter:
    """Keyed fingerprints: equal tokens have equal ones, and nobody without the key can test a guess."""

    def __init__(self, audit_key: Secret) -> None:
        self._key = derive_key(audit_key, "rotator fingerprint v1")

    def of(self, token: Secret) -> str:
        """`fp_` and 20 hex digits of HMAC-SHA256."""
        digest = hmac.new(self._key, token.reveal().encode(), hashlib.sha256).hexdigest()
        return f"fp_{digest[:_FINGERPRINT_DIGITS]}"


def derive_key(audit_key: Secret, purpose: str) -> bytes:
    """One independent key per purpose from the one key that the operator keeps."""
    return hmac.new(audit_key.reveal().encode(), purpose.encode(), hashlib.sha256).digest()


def key_check(audit_key: Secret) -> str:
    """A value that tells a wrong audit key from the right one and reveals neither."""
    return derive_key(audit_key, "rotator key check v1").hex()[:32]


class _Scrubber:
    """Knows every secret value of this process, in the forms in which libraries print them."""

    # Shorter values would blank out ordinary words; no credential we handle is that short.
    MINIMUM = 8

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        if len(value) < self.MINIMUM:
            return
        forms = {value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1]}
        raw = value.encode()
        # base64 of the value standing alone, and as it appears inside SMTP AUTH PLAIN and Basic auth
        # whatever precedes it: the three alignments, without the characters a neighbour influences.
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
            core = encoded[(0, 2, 3)[shift] : len(encoded) - (1 if (len(raw) + shift) % 3 else 0)]
            if len(core) >= self.MINIMUM:
                forms.update({core, core.replace("+", "-").replace("/", "_")})
        with self._lock:
            if not forms <= self._forms:
                self._forms |= forms
                self._pattern = None

    def scrub(self, text: str) -> str:
        with self._lock:
            if self._pattern is None and self._forms:
                longest_first = sorted(self._forms, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))
            pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(MASK, text)
        return _LOOKS_LIKE_TOKEN.sub(MASK, text)


_scrubber = _Scrubber()


def scrub(text: str) -> str:
    """The text without any secret value this process knows, and without anything token-shaped."""
    return _scrubber.scrub(text)
