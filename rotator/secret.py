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
import html
import json
import re
import threading
from typing import Final, NoReturn
from urllib.parse import quote, quote_plus

MASK: Final = "[secret]"

# Vendor formats (Lettermint SDK 3.2.0 `_core.py`; Team API introduction). A project token has 32 or
# 22 random letters and digits today; the vendor's own pattern sets no length, so neither do we.
PROJECT_TOKEN: Final = re.compile(r"lm_[0-9A-Za-z]+")
TEAM_TOKEN: Final = re.compile(r"lm_team_[0-9A-Za-z]+")
# Anything that looks like one of the vendor's secrets, for the scrubber: prefix and a long tail.
_LOOKS_LIKE_TOKEN: Final = re.compile(r"lm_(?:[a-z]+_)?[A-Za-z0-9]{20,}|whsec_[A-Za-z0-9+/=_-]{8,}")

_FINGERPRINT_DIGITS: Final = 20


class Secret:
    """A credential. Equality and hash are by value; the comparison takes constant time."""

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
        return hmac.compare_digest(_bytes(self._value), _bytes(other._value))

    def __hash__(self) -> int:
        return hash(hashlib.sha256(_bytes(self._value)).digest())

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
        digest = hmac.new(self._key, _bytes(token.reveal()), hashlib.sha256).hexdigest()
        return f"fp_{digest[:_FINGERPRINT_DIGITS]}"


def derive_key(audit_key: Secret, purpose: str) -> bytes:
    """One independent key per purpose from the one key that the operator keeps."""
    return hmac.new(_bytes(audit_key.reveal()), purpose.encode(), hashlib.sha256).digest()


def key_check(audit_key: Secret) -> str:
    """A value that tells a wrong audit key from the right one and reveals neither."""
    return derive_key(audit_key, "rotator key check v1").hex()[:32]


def _bytes(value: str) -> bytes:
    """UTF-8, also of the lone surrogates that stand for undecodable bytes in environment and arguments."""
    return value.encode("utf-8", "surrogatepass")


class _Scrubber:
    """Knows every secret value of this process, in the forms in which libraries print them.

    The forms are indexed by their first characters, so that neither a new secret nor the length of
    the list makes scrubbing slower: a daemon reads thousands of tokens and logs all the time.
    """

    # Shorter values would blank out ordinary words; no credential we handle is that short.
    MINIMUM = 8

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._forms: dict[str, tuple[str, ...]] = {}

    def add(self, value: str) -> None:
        if len(value) < self.MINIMUM:
            return
        with self._lock:
            if value in self._values:
                return
            self._values.add(value)
            for form in _written_forms(value) | _base64_forms(value):
                head = form[: self.MINIMUM]
                self._forms[head] = (*self._forms.get(head, ()), form)

    def scrub(self, text: str) -> str:
        return _LOOKS_LIKE_TOKEN.sub(MASK, self._without_known(text))

    def _without_known(self, text: str) -> str:
        spans: list[tuple[int, int]] = []
        for start in range(len(text) - self.MINIMUM + 1):
            forms = self._forms.get(text[start : start + self.MINIMUM])
            if forms:
                spans += [(start, start + len(form)) for form in forms if text.startswith(form, start)]
        parts: list[str] = []
        done = 0
        for start, end in spans:
            # Secrets may overlap or hold one another; what any of them covers must go.
            if start >= done:
                parts += (text[done:start], MASK)
            done = max(done, end)
        return "".join((*parts, text[done:]))


def _written_forms(value: str) -> set[str]:
    """The value as text, JSON, Python, URLs and HTML write it. All the same for letters and digits."""
    raw = _bytes(value)
    as_json = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    # PHP escapes the slash; JSON inside JSON escapes once more.
    as_json |= {form.replace("/", "\\/") for form in as_json} | {json.dumps(form)[1:-1] for form in as_json}
    as_python = {
        repr(value)[1:-1],
        repr(raw)[2:-1],
        # Beside both kinds of quotes the quotes of the value are escaped, else perhaps not.
        repr("'\"" + value)[4:-1],
        repr(b"'\"" + raw)[5:-1],
    }
    in_urls = {quote(raw, safe=safe) for safe in ("", "/", "!'()*", "!$&'()*+,;=:@/?")} | {quote_plus(raw)}
    in_urls |= {re.sub("%..", lambda found: found[0].lower(), form) for form in in_urls}
    in_html = {html.escape(value), html.escape(value, quote=False)}
    return {value} | as_json | as_python | in_urls | in_html


def _base64_forms(value: str) -> set[str]:
    """Base64 of the value alone, and as it appears inside SMTP AUTH PLAIN and Basic auth whatever
    stands before and after it: the three alignments, without the characters a neighbour influences."""
    raw = _bytes(value)
    forms: set[str] = set()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        core = encoded[(0, 2, 3)[shift] : len(encoded) - (1 if (len(raw) + shift) % 3 else 0)]
        forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms


_scrubber = _Scrubber()


def scrub(text: str) -> str:
    """The text without any secret value this process knows, and without anything token-shaped."""
    return _scrubber.scrub(text)
