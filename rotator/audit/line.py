"""One line of the audit log: canonical JSON with a MAC over itself, chained to the line before it.

Invariants:
- a line is exactly what `Sealer.seal` makes of its fields: any other spelling of them is a change;
- `seq` counts from 1 and equals the line's number; `prev` is the MAC of the line before.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog

from rotator.audit.base import ChainHead
from rotator.clock import rfc3339
from rotator.secret import Secret, derive_key, scrub

log = structlog.get_logger(__name__)

VERSION: Final = 1
NO_MAC: Final = "0" * 64
"""`prev` of the first line."""
MAX_LINE: Final = 1 << 20
"""Bytes of a line without its line end. Ours have a few hundred; the limit bounds memory when reading."""


class NotGenuine(ValueError):
    """The bytes are not a line that was sealed with this key."""


@dataclass(frozen=True)
class Line:
    """A line whose MAC was checked."""

    head: ChainHead
    prev: str
    fields: Mapping[str, Any]


class Sealer:
    """Makes and checks lines with the key of the audit chain."""

    def __init__(self, key: Secret) -> None:
        self._key = derive_key(key, "rotator audit chain v1")

    def seal(self, fields: Mapping[str, Any]) -> tuple[bytes, str]:
        """The line, without its line end, and its MAC."""
        mac = self._mac(fields)
        return canonical({**fields, "mac": mac}), mac

    def open(self, raw: bytes) -> Line:
        """Raises NotGenuine for anything that `seal` did not make with this key."""
        fields = parse(raw)
        mac = fields.get("mac")
        rest = {name: value for name, value in fields.items() if name != "mac"}
        try:
            genuine = (
                isinstance(mac, str)
                and hmac.compare_digest(mac.encode("utf-8", "replace"), self._mac(rest).encode())
                and canonical(fields) == raw
            )
            head = ChainHead(seq=fields["seq"], mac=str(mac))
            line = Line(head=head, prev=fields["prev"], fields=fields)
        except (ValueError, KeyError, RecursionError) as error:
            raise NotGenuine("not a line of an audit log") from error
        if not genuine:
            raise NotGenuine("its MAC does not match")
        return line

    def _mac(self, fields: Mapping[str, Any]) -> str:
        return hmac.new(self._key, canonical(fields), hashlib.sha256).hexdigest()


def canonical(fields: Mapping[str, Any]) -> bytes:
    """Sorted keys, no spaces, UTF-8. A lone surrogate becomes its JSON escape, so all text has bytes."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object of a line, unchecked. Raises NotGenuine if it is none."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NotGenuine("not JSON") from error
    if not isinstance(fields, dict):
        raise NotGenuine("not a JSON object")
    return fields


def plain(value: Any) -> Any:
    """The value as JSON that can always be written, with every secret this process knows blanked out.

    Audit data is plain JSON by contract. An event that breaks the contract is written as well as it
    can be, because losing it after a mint would be worse.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _clean(str(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_clean(str(name)): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return rfc3339(value) if isinstance(value, datetime) and value.tzinfo else _clean(str(value))


def _clean(text: str) -> str:
    cleaned = scrub(text)
    if cleaned != text:
        log.error("audit.secret-kept-out", hint="a caller handed a secret to the audit: please report this")
    return cleaned
