"""What PostgreSQL and its driver say, in words that tell what to do.

Only codes are quoted, never the server's or the driver's own text: it may hold parts of the address.
While opening, what the settings or the administrator can mend is JournalMisconfigured (exit 2);
everything else, and everything later, is JournalUnavailable (exit 6).
"""

from __future__ import annotations

from typing import Final

import psycopg

from rotator.errors import JournalUnavailable
from rotator.journal.base import JournalMisconfigured

_Finding = tuple[str, str, bool]
"""What happened (after the journal's name), what to do, and whether the settings are what is wrong."""

_AGAIN: Final = "Try again; if it stays so, look at the server's log"
GRANT: Final = (
    "Let the user of ROTATOR_JOURNAL own the database or its schema: CREATE once, and SELECT, INSERT, UPDATE "
    "and DELETE on its tables"
)
PRIMARY: Final = (
    "Name the primary server in ROTATOR_JOURNAL, or several hosts and target_session_attrs=read-write"
)
_TABLES: Final = "Name the journal's own database in ROTATOR_JOURNAL, or put back a backup of it"
_OPEN: Final = (
    "Name another one in ROTATOR_JOURNAL, or open it: ALTER DATABASE rotator ALLOW_CONNECTIONS true"
)
_SETTING: Final = "Check user, password, host and database in ROTATOR_JOURNAL"

_BY_STATE: Final[dict[str, _Finding]] = {
    "25006": ("is on a server that takes no writes", PRIMARY, True),
    "28000": ("refuses this user, or a connection of this kind", _SETTING, True),
    "28P01": ("refuses the user or the password", _SETTING, True),
    "3D000": ("names a database that does not exist", _SETTING, True),
    "3F000": ("has no schema to make tables in", GRANT, True),
    "40001": ("was busy with another change", _AGAIN, False),
    "40P01": ("was busy with another change", _AGAIN, False),
    "42501": ("does not give this user the rights it needs", GRANT, True),
    "42P01": ("has lost its tables", _TABLES, False),
    "53100": ("cannot grow: the server's disk is full", "Free some space there, then try again", False),
    "53300": ("has no connection left", "Raise max_connections there, or use a pooler", False),
    "55000": ("is in a database that takes no connections", _OPEN, True),
    "55P03": ("is locked by another process", _AGAIN, False),
    "57014": ("did not answer in time", _AGAIN, False),
    "57P03": ("is starting up or shutting down", "Try again when it is up", False),
}

_REFUSALS: Final = (
    # A refused connection has no code for the client, so the server's English is all there is.
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("is not permitted to log in", "28000"),
    ("permission denied for database", "42501"),
    ("too many connections for", "53300"),
    ("not currently accepting connections", "55000"),
    # With the quote: "the database system is starting up" names none.
    ('role "', "28000"),
    ('database "', "3D000"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("in recovery mode", "57P03"),
    ("not yet accepting connections", "57P03"),
    ("session is read-only", "25006"),
    ("server is in hot standby mode", "25006"),
)
_SECURITY: Final = ("SSL", "certificate", "sslmode")


def explain(error: psycopg.Error, where: str, *, opening: bool) -> JournalUnavailable:
    """The error to raise instead of one of a statement. `where` names the journal for people."""
    state = error.sqlstate or ""
    if broken(error):
        finding: _Finding = ("broke off the connection", "Try again when the server is up", False)
    else:
        finding = _BY_STATE.get(state) or (
            f"failed ({state or type(error).__name__})",
            "Look at the server's log, then try again",
            False,
        )
    return _error(finding, where, opening=opening, then=_then(opening=opening))


def explain_connection(error: psycopg.Error, where: str, *, opening: bool) -> JournalUnavailable:
    """The error to raise instead of one of a connection that was not made."""
    return _error(_connection(error), where, opening=opening, then=_then(opening=opening))


def passes(error: psycopg.Error) -> bool:
    """Whether a connection that was not made may be made a moment later, without anybody's doing."""
    return not _connection(error)[2]


def broken(error: psycopg.Error) -> bool:
    """Whether the connection is gone: said by the server, or found out by the driver."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith("08") or state in ("57P01", "57P02", "57P05", "25P03", "25P04")


def _connection(error: psycopg.Error) -> _Finding:
    text = str(error)
    for words, state in _REFUSALS:
        if words in text and ("FATAL" in text or state == "25006"):
            return _BY_STATE[state]
    if any(word in text for word in _SECURITY):
        return (
            "cannot be reached as safely as its address asks",
            "Check sslmode, sslrootcert and the server's certificate",
            True,
        )
    return ("cannot be reached", "Check host and port in ROTATOR_JOURNAL, and that the server is up", False)


def _then(*, opening: bool) -> str:
    return "Nothing was changed" if opening else "Nothing of this step was written to the journal"


def _error(finding: _Finding, where: str, *, opening: bool, then: str) -> JournalUnavailable:
    happened, remedy, settings = finding
    kind = JournalMisconfigured if opening and settings else JournalUnavailable
    return kind(f"{where} {happened}", then=then, remedy=remedy)
