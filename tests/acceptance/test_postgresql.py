"""Commands whose journal is on a PostgreSQL server, on one machine and on several."""

from __future__ import annotations

import json
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest

from rotator.secret import Secret
from tests.acceptance.moments import MINTED
from tests.acceptance.site import Site, eventually
from tests.crash.harness import KILLED, Ended
from tests.leaks.search import leaks
from tests.postgresql_server import PASSWORD, PostgresqlServer, postgresql

__all__ = ["postgresql"]

AUDIT_KEY = "an-audit-key-that-several-machines-share"


@pytest.fixture
def shared(site: Site, postgresql: PostgresqlServer) -> Site:
    """A site whose journal is in an empty database of the server."""
    site.environment |= {
        "ROTATOR_JOURNAL": postgresql.url(postgresql.new_database()),
        "ROTATOR_AUDIT_KEY": AUDIT_KEY,
        "ROTATOR_LOG_LEVEL": "debug",
    }
    return site


def second_machine(site: Site, name: str = "second") -> Site:
    """The same policies and journal with an audit log elsewhere."""
    folder = site.folder / name
    folder.mkdir()
    other = Site(folder, site.simulator, site.team_token, site.nursery, dict(site.environment))
    other.environment["ROTATOR_AUDIT_LOG"] = str(folder / "audit.jsonl")
    return other


def shows_no_password(site: Site, *ended: Ended) -> bool:
    places = {
        f"{number} {name}": getattr(one, name).encode()
        for number, one in enumerate(ended)
        for name in ("output", "errors")
    }
    return leaks([PASSWORD, AUDIT_KEY], {**places, **site.files()}) == []


def test_a_rotation_from_first_look_to_verified_trail(shared: Site) -> None:
    """Doctor, status, rotate, history and audit verify as with a file; the password is nowhere."""
    billing = shared.add()
    early = [shared.run("doctor", "-o", "json"), shared.run("status"), shared.run("audit", "verify")]
    assert "There is no journal at postgresql://postgres@127.0.0.1" in early[1].errors
    checks = {one["check"]: one for one in json.loads(early[0].output)["checks"]}
    assert checks["journal"]["result"] == "ok", checks["journal"]
    rotated = shared.rotate("billing")
    assert rotated.code == 0, rotated.errors
    late = [
        shared.run("doctor", "-o", "json"),
        shared.run("history", "-o", "json"),
        shared.run("status", "-o", "json"),
    ]
    assert [one.code for one in late] == [0, 0, 0], late[0].output
    assert billing.serves_a_living_token
    assert billing.mints == 1
    assert shared.audit_holds()
    assert shows_no_password(shared, *early, rotated, *late)


def test_two_runs_at_once_mint_once(shared: Site) -> None:
    """Two machines run the same due policy together: one mint, one living token, both trails hold."""
    billing = shared.add(schedule={"every": "1s"})
    assert shared.run("status").code == 0
    other = second_machine(shared)
    eventually(lambda: '"due": true' in shared.run("plan", "-o", "json").output)
    first = shared.start_until(MINTED, "run")
    second = other.run("run", "-o", "json")
    ended = first.go_on().wait()
    assert (ended.code, second.code) in ((0, 5), (0, 0)), (ended.errors, second.errors)
    assert billing.mints == 1
    assert billing.serves_a_living_token
    assert shared.audit_holds()
    assert other.audit_holds()
    assert shows_no_password(shared, ended, second)


def test_two_runs_that_start_together_never_mint_twice_for_one_date(shared: Site) -> None:
    """Two machines start on six due policies at the same moment: each date gives one mint, each store serves it."""
    entries = [shared.add(f"policy-{number}", schedule={"every": "3s"}) for number in range(6)]
    assert shared.run("status", "--refresh").code == 0
    other = second_machine(shared)
    time.sleep(4)  # the provider's times are whole seconds
    started = [one.start("run", "-o", "json") for one in (shared, other)]
    ended = [one.wait() for one in started]
    assert {one.code for one in ended} <= {0, 3, 5}, [one.errors for one in ended]
    for entry in entries:
        minted = [one.at.boot for one in shared.simulator.mints(entry.project)]
        assert minted
        assert all(later - earlier > 1.9 for earlier, later in pairwise(minted)), minted
        assert entry.serves_a_living_token
    assert shared.audit_holds()
    assert other.audit_holds()


def test_three_daemons_share_the_policies(shared: Site, postgresql: PostgresqlServer) -> None:
    """Nobody leads: one is killed, the server is restarted, and each due date is still met once by one of the others;
    every trail holds."""
    shared.environment |= {"ROTATOR_LISTEN": "127.0.0.1:0", "ROTATOR_CALL_TIMEOUT": "2s"}
    entries = [shared.add(f"p{number}", schedule={"every": "4s"}) for number in range(5)]
    assert shared.run("status").code == 0
    machines = [shared, second_machine(shared), second_machine(shared, "third")]
    for machine in machines[1:]:
        machine.environment["ROTATOR_POLICIES"] = shared.environment["ROTATOR_POLICIES"]
    first, *others = [machine.start("serve") for machine in machines]
    eventually(lambda: all(entry.mints >= 1 for entry in entries))
    first.signal(signal.SIGKILL)
    assert first.wait().code == KILLED
    postgresql.restart()
    before = [entry.mints for entry in entries]
    eventually(lambda: all(entry.mints > former for entry, former in zip(entries, before, strict=True)))
    for child in others:
        child.signal(signal.SIGTERM)
    for child in others:
        ended = child.wait()
        assert ended.code == 143, ended.errors
    ended = shared.run("run", "-o", "json")
    assert ended.code == 0, ended.errors
    for entry in entries:
        assert entry.serves_a_living_token
        # Each mint of a rotation that was not disturbed is followed by four quiet seconds.
        times = [mint.at.boot for mint in shared.simulator.mints(entry.project)]
        assert len(times) <= (times[-1] - times[0]) / 3 + 2, times
    assert all(machine.audit_holds() for machine in machines)


def test_a_server_restarted_after_the_mint_costs_nothing(shared: Site, postgresql: PostgresqlServer) -> None:
    """The server is killed and started anew between mint and publish; the rotation goes on."""
    billing = shared.add()
    paused = shared.start_until(MINTED, "rotate", "billing", "--yes")
    postgresql.kill()
    postgresql.start()
    ended = paused.go_on().wait()
    assert ended.code == 0, ended.errors
    assert billing.mints == 1
    assert billing.serves_a_living_token


def test_a_server_that_stays_away_after_the_mint_loses_no_token(
    shared: Site, postgresql: PostgresqlServer
) -> None:
    """Nothing can be recorded any more; the store serves a living token, and a later run ends the rotation."""
    billing = shared.add()
    paused = shared.start_until(MINTED, "rotate", "billing", "--yes")
    postgresql.kill()
    try:
        ended = paused.go_on().wait()
    finally:
        postgresql.start()
    assert ended.code in (4, 6), ended.errors
    assert billing.serves_a_living_token
    assert shared.run("run", "-o", "json").code == 0
    assert billing.serves_a_living_token
    assert shared.run("status", "-o", "json").code == 0
    assert shows_no_password(shared, ended)


def test_without_a_key_or_a_server_it_says_what_to_do(shared: Site, dead_port: int) -> None:
    """No audit key, a wrong password: exit 2. No server: exit 6. None shows the password."""
    shared.add()
    keyless = dict(shared.environment)
    del shared.environment["ROTATOR_AUDIT_KEY"]
    no_key = shared.rotate()
    shared.environment = dict(keyless)
    shared.environment["ROTATOR_JOURNAL"] = keyless["ROTATOR_JOURNAL"].replace(PASSWORD, PASSWORD + "-wrong")
    wrong = [shared.rotate(), shared.run("status"), shared.run("doctor")]
    shared.environment["ROTATOR_JOURNAL"] = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{dead_port}/journal"
    away = [shared.rotate(), shared.run("status"), shared.run("doctor")]
    assert "ROTATOR_AUDIT_KEY" in no_key.errors
    assert [one.code for one in (no_key, *wrong)] == [2, 2, 2, 2]
    assert [one.code for one in away] == [6, 6, 6]
    assert "refuses the user or the password" in wrong[0].errors
    assert shows_no_password(shared, no_key, *wrong, *away)


def test_the_address_may_stand_in_a_file(shared: Site, tmp_path: Path) -> None:
    """ROTATOR_JOURNAL_FILE works as the variable does."""
    shared.add()
    file = tmp_path / "address"
    file.write_text(shared.environment.pop("ROTATOR_JOURNAL") + "\n", encoding="utf-8")
    file.chmod(0o600)
    shared.environment["ROTATOR_JOURNAL_FILE"] = str(file)
    assert shared.rotate().code == 0
    ended = shared.run("history", "-o", "json")
    assert Secret(PASSWORD).reveal() not in ended.output + ended.errors
