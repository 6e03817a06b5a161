"""How the key-value engine reads the fields of a request, and what becomes of values it stores."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.destinations.strict_vault_answers import VaultError

METADATA_KEYS, METADATA_KEY, METADATA_VALUE = 64, 128, 512


def as_stored(value: Any) -> Any:
    """A value as a reader gets it back: numbers are 64-bit floats to the server, keys come sorted."""
    match value:
        case dict():
            return {_as_stored_text(key): as_stored(value[key]) for key in sorted(value)}
        case list():
            return [as_stored(item) for item in value]
        case str():
            return _as_stored_text(value)
        case bool() | None:
            return value
    number = float(value)
    # Written out with the fewest digits that name the double, and zeros after them: 2**53 + 1 comes back as
    # 2**53, and 1.0 as 1.
    if number.is_integer() and abs(number) < 1e21:
        return int(Decimal(repr(number)))
    return number


def _as_stored_text(text: str) -> str:
    """Half of a surrogate pair becomes the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def unconvertible(name: str, value: Any) -> VaultError:
    """The refusal of a field that should have been an object."""
    kinds = {str: "string", bool: "bool", list: "[]interface {}"}
    text = f"'' expected type 'map[string]interface {{}}', got unconvertible type '{kinds.get(type(value), 'json.Number')}'"
    return VaultError(400, f'error converting input for field "{name}": {text}')


def whole(value: Any) -> int:
    """A cas as the server reads it: null is 0, a text of digits is a number, 3.0 is not."""
    try:
        if isinstance(value, str | int | None):
            return int(value or 0)
    except ValueError:
        pass
    raise VaultError(400, "error parsing check-and-set parameter")


def number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise VaultError(400, 'Field validation failed: error converting input for field "version"') from None


def merged(base: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396); beyond it, nulls of objects within lists vanish too."""
    if isinstance(patch, list):
        return [merged({}, item) if isinstance(item, dict) else item for item in patch]
    if not isinstance(patch, dict):
        return patch
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def custom_metadata(custom: dict[str, Any], *, patch: bool) -> dict[str, Any]:
    """The custom metadata as texts; raises VaultError with every problem at once."""
    prefix = "custom_metadata validation failed"
    for value in custom.values():
        if isinstance(value, dict | list):
            raise VaultError(
                400, f"{prefix}: '' expected type 'string', got unconvertible type '{_go(value)}'"
            )
    texts = {key: _text(value) for key, value in custom.items() if value is not None or not patch}
    problems = []
    if len(texts) > METADATA_KEYS:
        problems.append(f"payload must contain at most {METADATA_KEYS} keys, provided {len(texts)}")
        texts = {}
    for key, text in texts.items():
        for what, size, most in (
            (f'length of key "{key}" is', len(key.encode()), f"len(key) <= {METADATA_KEY}"),
            (f'length of value for key "{key}" is', len(text.encode()), f"len(value) <= {METADATA_VALUE}"),
        ):
            if not 0 < size <= int(most.rpartition(" ")[2]):
                problems.append(f"{what} {size} but must be 0 < {most}")
        if not text.isprintable():
            problems.append(f'value for key "{key}" contains unprintable characters')
    if problems:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        listed = "".join(f"\t* {prefix}: {problem}\n" for problem in problems)
        raise VaultError(400, f"{count} occurred:\n{listed}\n")
    return {key: texts.get(key) for key in custom}


def _go(value: Any) -> str:
    return "map[string]interface {}" if isinstance(value, dict) else "[]interface {}"


def _text(value: Any) -> str:
    if isinstance(value, bool | None):
        return "1" if value else "0" if value is False else ""
    return str(value)
