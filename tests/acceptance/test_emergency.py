"""Leaked tokens, by the commands that a person types, beside a daemon that is at work."""

from __future__ import annotations

import json
import signal

from tests.acceptance.moments import VERIFIED
from tests.acceptance.site import PING_AND_SEND, Site, eventually
from tests.crash.harness import Ended

NUMBER = 20


def emergency(site: Site, *more: str) -> Ended:
    return site.run("rotate", *more, "--emergency", "--reason", "INC-4711", "--yes", "-o", "json")


def test_twenty_leaked_tokens_while_a_daemon_rotates_some_of_them(site: Site) -> None:
    """All twenty are proved dead, every store serves a living token, each exposure is told; the daemon, held up in
    the middle of one of them, says that it lost it and goes on."""
    site.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"
    busy = site.add("busy", schedule={"every": "1s"}, verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[busy.project])
    entries = [busy, *(site.add(f"p{number}") for number in range(NUMBER - 1))]
    paused = site.start_until(VERIFIED, "serve")
    leaked = {entry.name: entry.stored for entry in entries}
    assert leaked["busy"] != busy.first
    ended = emergency(site, "--all")
    assert ended.code == 0, ended.errors
    shown = json.loads(ended.output)
    # The daemon's own rotation is ended on the way, and told too.
    emergencies = [one for one in shown["rotations"] if one["trigger"] == "emergency"]
    assert sorted(one["policy"] for one in emergencies) == sorted(leaked)
    for entry in entries:
        assert not site.simulator.is_alive(leaked[entry.name]), entry.name
        assert entry.serves_a_living_token, entry.name
    for one in emergencies:
        assert one["old_token_dead"] is True, one["message"]
        assert 0 <= one["exposure_seconds"]["min"] <= one["exposure_seconds"]["max"]
    assert (shown["report"]["all_dead"], shown["report"]["not_done"]) == (True, [])
    daemon = paused.go_on()
    eventually(lambda: "an emergency" in daemon.errors)
    mints = busy.mints
    eventually(lambda: busy.mints > mints)  # due again, and rotated as usual
    daemon.signal(signal.SIGTERM)
    assert daemon.wait().code == 143
    assert site.run("run", "-o", "json").code == 0
    assert all(entry.serves_a_living_token for entry in entries)
    assert site.audit_holds()


def test_a_token_that_was_killed_alone_is_replaced_by_the_next_run(site: Site) -> None:
    """`--kill-only`: the leaked token dies and nothing is published, exit 4; `run` publishes another one."""
    entry = site.add()
    ended = emergency(site, "billing", "--kill-only")
    assert ended.code == 4, ended.errors
    assert not site.simulator.is_alive(entry.first)
    assert entry.stored == entry.first
    assert site.run("run", "-o", "json").code == 0
    assert entry.serves_a_living_token
    assert site.audit_holds()


def test_a_second_emergency_for_a_dead_token_mints_nothing_anew_for_readers_that_are_served(
    site: Site,
) -> None:
    """Each emergency kills what readers hold at that time, and says so; what was dead stays dead."""
    entry = site.add()
    assert emergency(site, "billing").code == 0
    second = entry.stored
    assert emergency(site, "billing").code == 0
    assert not site.simulator.is_alive(second)
    assert entry.serves_a_living_token


def test_without_a_reason_nothing_is_done(site: Site) -> None:
    """A reason is for whoever reads the audit afterwards: without one it is a usage error."""
    entry = site.add()
    ended = site.run("rotate", "billing", "--emergency", "--yes")
    assert ended.code == 2
    assert "--reason" in ended.errors
    assert entry.mints == 0


def test_a_journal_that_is_away_is_gone_without_only_when_asked(site: Site) -> None:
    """It refuses and names `--no-journal`; with that the leaked token dies all the same."""
    entry = site.add()
    site.environment["ROTATOR_JOURNAL"] = f"sqlite:///{site.folder}/no/such/journal.db"
    (site.folder / "no").write_text("a file where a folder should be", encoding="utf-8")
    refused = emergency(site, "billing")
    assert refused.code in (2, 6), refused.errors
    assert "--no-journal" in refused.errors
    assert site.simulator.is_alive(entry.first)
    ended = emergency(site, "billing", "--no-journal")
    assert ended.code in (0, 4), ended.errors
    assert not site.simulator.is_alive(entry.first)
    assert entry.serves_a_living_token
