"""What a PostgreSQL server says when it refuses a connection, and what is made of it."""

from __future__ import annotations

import psycopg
import pytest

from rotator.journal.base import JournalMisconfigured
from rotator.journal.postgresql_errors import explain_connection, passes
from tests.postgresql_server import PASSWORD, PostgresqlServer

WHERE = "The journal postgresql://rotator@127.0.0.1/journal"
# As PostgreSQL 16 says them to a client that connects; they come without a code.
PASSING = [
    "the database system is starting up",
    "the database system is shutting down",
    "the database system is in recovery mode",
    "the database system is not yet accepting connections",
    "sorry, too many clients already",
    'too many connections for role "rotator"',
    'too many connections for database "journal"',
]


@pytest.mark.parametrize("said", PASSING)
def test_server_that_is_not_ready_yet_is_waited_for(said: str) -> None:
    """It is no fault of the settings: a moment later the same connection is made."""
    error = psycopg.OperationalError(f'connection to server at "127.0.0.1", port 5432 failed: FATAL:  {said}')
    assert passes(error)
    assert not isinstance(explain_connection(error, WHERE, opening=True), JournalMisconfigured)


def test_what_only_a_person_can_mend_is_told_by_its_name(postgresql: PostgresqlServer) -> None:
    """A real server's refusals: no such database, no such user, a database that is closed
    to the user, or to all."""
    name = postgresql.new_database()
    postgresql.execute(f"CREATE ROLE nobody_{name} LOGIN PASSWORD '{PASSWORD}'")
    postgresql.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    shut = postgresql.new_database("ALLOW_CONNECTIONS false")
    told = {
        "shut": (postgresql.url(shut), "is in a database that takes no connections"),
        "no such database": (postgresql.url("nowhere"), "names a database that does not exist"),
        "no such user": (postgresql.url(name, user="stranger"), "refuses the user or the password"),
        "closed": (
            postgresql.url(name, user=f"nobody_{name}"),
            "does not give this user the rights it needs",
        ),
    }
    for what, (url, words) in told.items():
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(url)
        assert not passes(refused.value), what
        explained = explain_connection(refused.value, WHERE, opening=True)
        assert words in explained.happened, (what, str(refused.value))
        assert isinstance(explained, JournalMisconfigured), what
