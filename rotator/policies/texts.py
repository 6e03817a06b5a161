"""Checks of single texts in a policy. Each returns the text as it is kept, or raises ValueError whose
message says what is wrong and what is accepted, and never repeats the text: it could be a secret that
went to the wrong line."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from rotator.policies import cron as cron_module
from rotator.policies.document import NAME
from rotator.policies.nearest import did_you_mean
from rotator.policies.schedule import LONGEST, parse_duration
from rotator.urls import is_web_url

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODE: Final = re.compile(r"0?[0-7]{3}")
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_KUBERNETES: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"()]+@[^\s@<>,;:\"()]+\.[^\s@<>,;:\"()]+")
_REGION: Final = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]+")
# Names: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
_SECRET_NAME: Final = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")
SECRET_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:secretsmanager:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):secret:"
    r"(?P<name>[A-Za-z0-9/_+=.@-]{1,519})"
)
"""An ARN ends in a hyphen and six characters that AWS adds to the name; a partial ARN leaves them out."""

_LONGEST_TEXT: Final = 1024
_OWN_ZONE: Final = "localtime"


def plain(text: str) -> str:
    """Any text on one line."""
    if not text.strip():
        raise ValueError("is empty; give it a value or remove it")
    if text != text.strip():
        raise ValueError("begins or ends with a space; remove it")
    # Control and format characters (Cc, Cf) are invisible: two names would look alike and differ.
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("holds an invisible character; accepted: printable text on one line")
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"is longer than {_LONGEST_TEXT} characters")
    return text


def key(text: str) -> str:
    """The name of a field in a secret."""
    if len(plain(text)) > 256:
        raise ValueError("is longer than 256 characters")
    return text


def is_variable(text: str) -> bool:
    """Whether a shell would take it as the name of a variable."""
    return _VARIABLE.fullmatch(text) is not None


def name(text: str) -> str:
    """A policy's name."""
    if not NAME.fullmatch(text):
        raise ValueError(
            "is not a policy name; accepted: 1 to 63 lower-case letters, digits and hyphens, "
            "with no hyphen at either end"
        )
    return text


def project_id(text: str) -> str:
    """A project id, kept in lower case (the Team API's ids are UUID strings)."""
    if not _UUID.fullmatch(text.lower()):
        raise ValueError(
            "is not a Lettermint project id; accepted: a UUID such as 0f8fad5b-d9cb-469f-a165-70867728950e"
        )
    return text.lower()


def duration(text: str) -> str:
    """A length of time that may be zero."""
    try:
        parse_duration(text)
    except ValueError as error:
        if "longer" in str(error):
            raise ValueError(f"is too long; accepted: up to {LONGEST.days}d") from None
        raise ValueError(
            "is not a duration; accepted: one whole number and one unit of s, m, h, d, w, such as 30d"
        ) from None
    return text


def positive_duration(text: str) -> str:
    """A length of time above zero."""
    if not parse_duration(duration(text)):
        raise ValueError("is zero; accepted: a duration above zero, such as 30d")
    return text


def start_time(text: str) -> str:
    """A local time of day."""
    if not _CLOCK.fullmatch(text):
        raise ValueError('is not a time of day; accepted: "00:00" to "23:59"')
    return text


def end_time(text: str) -> str:
    """A local time of day, or the end of the day."""
    if not _CLOCK.fullmatch(text) and text != "24:00":
        raise ValueError('is not a time of day; accepted: "00:00" to "24:00"')
    return text


def minutes(text: str) -> int:
    """Minutes after midnight of a checked time."""
    hours, minutes_ = text.split(":")
    return int(hours) * 60 + int(minutes_)


def timezone(text: str) -> str:
    """The name of a time zone that every machine understands in the same way."""
    try:
        # The machine's own zone would give two hosts different dates.
        known = text != _OWN_ZONE and ZoneInfo(text) is not None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = False
    if not known:
        raise ValueError(
            "is not a time zone; accepted: a name of the IANA database such as Europe/Amsterdam"
            + did_you_mean(text, available_timezones() - {_OWN_ZONE})
        )
    return text


def cron(text: str) -> str:
    """A cron expression of five fields."""
    problem = cron_module.problem_with(text)
    if problem:
        raise ValueError(
            f"{problem}; accepted: the five fields of cron (minute, hour, day of month, month, "
            'day of week) such as "0 9 * * 1"'
        )
    return text


def secret_id(text: str) -> str:
    """The name or the ARN of a secret in AWS Secrets Manager."""
    if not _SECRET_NAME.fullmatch(text) and not SECRET_ARN.fullmatch(text):
        raise ValueError(
            "is not a secret of AWS Secrets Manager; accepted: its name (letters, digits and /_+=.@-) or its ARN"
        )
    return text


def region(text: str) -> str:
    """An AWS region."""
    if not _REGION.fullmatch(text):
        raise ValueError("is not an AWS region; accepted: a name such as eu-central-1")
    return text


def vault_path(text: str) -> str:
    """A path in Vault, kept without slashes at the ends and without doubled ones."""
    parts = [part for part in plain(text).split("/") if part]
    if not parts or any(part in (".", "..") for part in parts):
        raise ValueError(
            "is not a path in Vault; accepted: names separated by single slashes, without . and .."
        )
    if parts[-1] == "rotator-pending":
        raise ValueError("ends in rotator-pending, where staged tokens are kept; accepted: any other name")
    return "/".join(parts)


def file_path(text: str, base: Path | None) -> str:
    """The path of a file, made absolute from `base`; without one it must be absolute."""
    plain(text)
    if text.startswith("~"):
        raise ValueError("begins with ~, which is not expanded; accepted: an absolute or a relative path")
    if text.endswith(("/", "/.", "/..")) or text in (".", ".."):
        raise ValueError("names a folder; accepted: the path of a file")
    if base is None and not text.startswith("/"):
        raise ValueError("is not an absolute path")
    # Joined and cleaned as text: links are the reader's own arrangement and may change after us.
    return os.path.abspath(base / text if base is not None else text)  # noqa: PTH100  # as said


def file_mode(text: str) -> str:
    """File permissions in octal; the owner must be able to read and write."""
    if not _MODE.fullmatch(text) or int(text, 8) & 0o600 != 0o600 or int(text, 8) & 0o111:
        raise ValueError(
            'is not a usable file mode; accepted: octal, read and write for the owner, such as "0640"'
        )
    return text


def label(text: str) -> str:
    """A label's name or value, free of what `-l NAME=VALUE` would trip over."""
    if not _LABEL.fullmatch(text):
        raise ValueError(
            "is not a label; accepted: 1 to 63 letters, digits and . _ / -, with a letter or digit at both ends"
        )
    return text


def kubernetes_name(text: str) -> str:
    """The name of a Kubernetes object or namespace."""
    if not _KUBERNETES.fullmatch(text):
        raise ValueError("is not a Kubernetes name; accepted: lower-case letters, digits, hyphens and dots")
    return text


def mail_address(text: str) -> str:
    """One bare mail address."""
    if not _ADDRESS.fullmatch(plain(text)):
        raise ValueError("is not a mail address; accepted: one bare address such as rotation@example.com")
    return text


def url(text: str) -> str:
    """An https URL; plain http only to this machine."""
    if "@" in urlsplit(plain(text)).netloc:
        raise ValueError("has a user name or password in it; accepted: a URL without credentials")
    if not is_web_url(text):
        raise ValueError("is not a usable URL; accepted: https://HOST/PATH, or http:// on a loopback address")
    return text
