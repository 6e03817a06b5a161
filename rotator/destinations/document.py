"""One field inside the text of a secret: find it, and replace it without touching anything else.

Pure text in, pure text out. Three forms:

- `json`: the field of a JSON object. Only the value's own characters are replaced, so number formats,
  escapes, order and white space of every other field stay as somebody wrote them.
- `env`: the one line `KEY=value` of an environment file. `export`, quotes, comments and every other line
  stay as they are.
- no format: the whole text is the value; white space around it (a trailing newline) stays.

A text that two readers could understand differently (a key that is there twice) is refused, never guessed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from rotator.destinations.base import Content, DestinationRefused, Reading, classify
from rotator.secret import Secret

JSON: Final = "json"
ENV: Final = "env"

ENV_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST_TOKEN: Final = "lm_" + "0" * 61
"""As long as any token might get: proves before a mint that a merged text can be written."""

# What every dialect of env files (shell, Docker, systemd, dotenv) reads the same way with and without quotes.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.+/=:@-]+")
_WHITESPACE: Final = re.compile(r"[ \t\n\r]*")
_BYTE_ORDER_MARK: Final = "\ufeff"


class Malformed(Exception):
    """The text is not of its form, or is ambiguous. The message never quotes the text."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


@dataclass(frozen=True)
class Field:
    """The field of one destination: its key (None: the whole text), form, and name for people."""

    key: str | None
    form: str | None
    where: str

    def get(self, text: str) -> str | None:
        """The value, or None where it is not there or null. Raises DestinationRefused."""
        try:
            return get_field(text, self.key, self.form)
        except Malformed as problem:
            raise self._refusal(problem) from None

    def put(self, text: str, value: str) -> str:
        """The same text with another value. Raises DestinationRefused."""
        try:
            return put_field(text, self.key, self.form, value)
        except Malformed as problem:
            raise self._refusal(problem) from None

    def reading(self, text: str, version: str) -> Reading:
        """What a reader of the text gets. Raises DestinationRefused."""
        value = self.get(text)
        content = classify(value)
        held = Secret(value) if value is not None and content in (Content.TOKEN, Content.FOREIGN) else None
        return Reading(content, version, held)

    def _refusal(self, problem: Malformed) -> DestinationRefused:
        return DestinationRefused(
            f"{self.where} cannot be used: {problem.why}", then="Nothing was changed", remedy=problem.remedy
        )


def get_field(text: str, key: str | None, form: str | None) -> str | None:
    """The value of the field; None where it is not there or null.

    A JSON value that is no text comes back as its own JSON, which never looks like a token.
    """
    if form == JSON and key is not None:
        return _json_get(text, key)
    if form == ENV and key is not None:
        return _env_get(text, key)
    return text.strip()


def put_field(text: str, key: str | None, form: str | None, value: str) -> str:
    """The same text with the field set to `value`; an empty text becomes the smallest one of its form."""
    if form == JSON and key is not None:
        return _json_put(text, key, value)
    if form == ENV and key is not None:
        return _env_put(text, key, value)
    if not text.strip():
        return value + ("\n" if text.endswith("\n") else "")
    start = len(text) - len(text.lstrip())
    return text[:start] + value + text[len(text.rstrip()) :]


def empty_text(form: str | None) -> str:
    """A text of a form that holds no value, is not zero bytes long, and leaves no trace when one is put in."""
    return "{}" if form == JSON else " "


# --- JSON -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Member:
    """Where one member of the object stands in the text."""

    name: str
    key_start: int
    key_end: int
    value_start: int
    value_end: int


@dataclass(frozen=True)
class _Object:
    members: list[_Member]
    opened: int
    """Just behind the opening brace."""
    closed: int
    """At the closing brace."""

    def member(self, key: str) -> _Member | None:
        return next((member for member in self.members if member.name == key), None)


def _json_get(text: str, key: str) -> str | None:
    if not text.strip():
        return None
    member = _parse_object(text).member(key)
    if member is None:
        return None
    raw = text[member.value_start : member.value_end]
    if raw == "null":
        return None
    if not raw.startswith('"'):
        return raw
    value = str(json.loads(raw))
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: not a text that could be used anywhere
        return raw
    return value


def _json_put(text: str, key: str, value: str) -> str:
    if not text.strip():
        return json.dumps({key: value}) + ("\n" if text.endswith("\n") else "")
    found = _parse_object(text)
    member = found.member(key)
    if member is not None:
        return text[: member.value_start] + json.dumps(value) + text[member.value_end :]
    if not found.members:
        return text[: found.opened] + f"{json.dumps(key)}: {json.dumps(value)}" + text[found.closed :]
    # A new member goes to the end and looks like its neighbours: same indentation, same colon.
    first, last = found.members[0], found.members[-1]
    indentation = text[found.opened : first.key_start]
    if len(found.members) > 1:
        before_last = text[found.members[-2].value_end : last.key_start]
        indentation = before_last[before_last.index(",") + 1 :]
    elif not indentation:
        indentation = " "
    colon = text[last.key_end : last.value_start]
    added = f",{indentation}{json.dumps(key)}{colon}{json.dumps(value)}"
    return text[: last.value_end] + added + text[last.value_end :]


def _parse_object(text: str) -> _Object:
    problem: Malformed
    try:
        return _scan_object(text)
    except Malformed as found:
        problem = found
    except (ValueError, RecursionError, StopIteration):
        # The decoder's own error carries the whole text in `.doc`: it must not become a cause or context.
        problem = Malformed("it is not valid JSON", "Mend it, or leave out `key` to use the whole text")
    raise problem


def _scan_object(text: str) -> _Object:
    decoder = json.JSONDecoder(
        object_pairs_hook=_no_duplicates, parse_int=str, parse_float=str, parse_constant=_no_constant
    )
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        decoder.raw_decode(text, at)  # tells "not JSON" from "JSON, but no object"
        raise Malformed("it is JSON, but not an object with fields", "Make it an object, or leave out `key`")
    opened = at + 1
    members: list[_Member] = []
    at = _skip(text, opened)
    while text[at : at + 1] != "}":
        if members:
            at = _skip(text, _expect(text, at, ","))
        name, key_end = decoder.raw_decode(text, at)
        if not isinstance(name, str) or text[at] != '"':
            raise ValueError("a name is a text")
        value_start = _skip(text, _expect(text, _skip(text, key_end), ":"))
        _, value_end = decoder.raw_decode(text, value_start)
        members.append(_Member(name, at, key_end, value_start, value_end))
        at = _skip(text, value_end)
    if _skip(text, at + 1) != len(text):
        raise ValueError("something follows the object")
    _no_duplicates([(member.name, None) for member in members])
    return _Object(members, opened, at)


def _skip(text: str, at: int) -> int:
    match = _WHITESPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, character: str) -> int:
    if text[at : at + 1] != character:
        raise ValueError("not JSON")
    return at + 1


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise Malformed(
            "a field is in its JSON twice", "Keep one of the two; readers differ on which one counts"
        )
    return unique


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


# --- env ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Definition:
    """The one line that defines the key: where its value stands, its quote, and what it says."""

    start: int
    end: int
    quote: str
    value: str


def _env_get(text: str, key: str) -> str | None:
    definition = _find_definition(text, key)
    return definition.value if definition else None


def _env_put(text: str, key: str, value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise Malformed("the new value has characters that env files need quotes for", "Use `format: json`")
    definition = _find_definition(text, key)
    if definition is not None:
        quote = definition.quote
        return text[: definition.start] + quote + value + quote + text[definition.end :]
    newline = "\r\n" if "\r\n" in text else "\n"
    others = re.findall(r"(?m)^[ \t]*(export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*[ \t]*=", text)
    export = "export " if others and all(others) else ""
    separator = newline if text and not text.endswith("\n") else ""
    return f"{text}{separator}{export}{key}={value}{newline}"


def _find_definition(text: str, key: str) -> _Definition | None:
    if text.startswith(_BYTE_ORDER_MARK):
        raise Malformed("it begins with a byte-order mark, which hides its first line", "Save it without one")
    pattern = re.compile(rf"(?m)^[ \t]*(?:export[ \t]+)?{re.escape(key)}[ \t]*=([ \t]*)([^\n]*)")
    found = list(pattern.finditer(text))
    if not found:
        return None
    if len(found) > 1:
        raise Malformed(
            f"{key} is defined more than once in it", "Keep one line; readers differ on which counts"
        )
    line = found[0]
    if _inside_another_value(text, line.start()):
        raise Malformed(f"{key} stands inside a value of several lines", "Move it to a line of its own")
    rest = line.group(2).rstrip(" \t\r")
    start = line.start(2)
    if rest[:1] in ('"', "'"):
        quote = rest[0]
        inner = re.match(r'"((?:[^"\\]|\\.)*)"' if quote == '"' else r"'([^']*)'", rest)
        if inner is None:
            raise Malformed(f"the value of {key} goes on over several lines", "Put it on one line")
        if re.fullmatch(r"([ \t]+#.*)?[ \t]*", rest[inner.end() :]):
            plain = re.sub(r"\\(.)", r"\1", inner.group(1)) if quote == '"' else inner.group(1)
            return _Definition(start, start + inner.end(), quote, plain)
        return _Definition(start, start + len(rest), "", rest)  # "a"b, "a" "b": no value of ours
    if rest.endswith("\\"):
        raise Malformed(f"the value of {key} goes on over several lines", "Put it on one line")
    if not rest or (rest.startswith("#") and line.group(1)):
        return _Definition(line.start(1), line.start(1), "", "")  # nothing, or nothing but a comment
    value = re.sub(r"[ \t]+#.*$", "", rest)
    return _Definition(start, start + len(value), "", value)


def _inside_another_value(text: str, at: int) -> bool:
    """Whether the line at `at` continues an earlier one: an open quote, or a backslash at its end."""
    before = text[:at]
    if re.search(r"(?m)^(?![ \t]*#)[^\n]*\\\r?\n\Z", before):
        return True
    opening = re.compile(r"""(?m)^[ \t]*(?:export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*[ \t]*=[ \t]*(["'])""")
    position = 0
    while match := opening.search(before, position):
        quote = match.group(1)
        closing = re.compile(r'(?:[^"\\]|\\.)*"' if quote == '"' else r"[^']*'", re.DOTALL)
        end = closing.match(text, match.end())
        if end is None:  # never closed: a dialect without quotes, where each line stands for itself
            position = match.end()
        elif end.end() > at:
            return True
        else:
            position = end.end()
    return False
