"""Leaked tokens, by the commands that a person types, beside a daemon that is at work."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

from rotator.secret import Secret
from tests.acceptance.moments import MINTED, VERIFIED
from tests.acceptance.site import PING_AND_SEND, Entry, Site, eventually
from tests.crash.harness import Ended
from tests.leaks.accidents import standard_input

NUMBER = 20


def emergency(site: Site, *more: str) -> Ended:
    return site.run("rotate", *more, "--emergency", "--reason", "INC-4711", "--yes", "-o", "json")


def test_twenty_leaked_tokens_while_a_daemon_rotates_some_of_them(site: Site) -> None:
    """All twenty are proved dead, every store serves a living token, each exposure is told; the daemon, held up in
    the middle of one of them, says that it lost it and goes on."""
    site.environment |= {"ROTATOR_LISTEN": "127.0.0.1:0", "ROTATOR_CALL_TIMEOUT": "2s"}
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


def typed(token: Secret) -> dict[str, object]:
    return {"call": "tests.leaks.accidents:standard_input", "with": [token.reveal() + "\n"]}


def by_token(site: Site, token: Secret, *more: str, prepare: str = "") -> Ended:
    """`prepare` names a function below that the process calls with what is typed."""
    argv = ("rotate", "--leaked-stdin", "--emergency", "--reason", "INC-4711", "--yes", "-o", "json", *more)
    given = typed(token)
    return site.run(*argv, prepare={**given, "call": f"{__name__}:{prepare}"} if prepare else given)


def impatient(given: str) -> None:
    """A token that goes on living is waited for no longer than half a second."""
    from rotator.engine.context import Timings  # noqa: PLC0415  # imported by the product as well

    standard_input(given)
    real = Timings.__init__

    def init(self: Timings, **named: Any) -> None:
        real(self, **{"propagation": 0.5, **named})

    Timings.__init__ = init  # type: ignore[method-assign, assignment]


def pair(site: Site) -> Entry:
    standby, _ = site.simulator.add_project("standby", team=site.team_token)
    entry = site.add(
        "pair",
        verify=PING_AND_SEND,
        strategy="create-before-revoke",
        standby={"project": standby},
        drain={"min": "1h", "quiet": "1h", "max": "1d"},
    )
    site.simulator.add_domain(team=site.team_token, projects=[entry.project, standby])
    return entry


def test_a_leaked_token_is_found_and_killed_with_the_journal_lost(site: Site) -> None:
    """Only its own policy is struck, found by what its store holds; a further time it is dead already."""
    entries = [site.add(name) for name in ("one", "two", "three")]
    assert site.rotate().code == 0
    leaked = entries[1].stored
    shutil.rmtree(site.folder / "state")
    ended = by_token(site, leaked)
    assert ended.code == 0, ended.errors
    (told,) = ended.rotations
    assert (told["policy"], told["trigger"], told["old_token_dead"]) == ("two", "emergency", True)
    assert [entry.mints for entry in entries] == [1, 2, 1]
    assert not site.simulator.is_alive(leaked)
    assert entries[1].serves_a_living_token
    assert leaked.reveal() not in ended.output + ended.errors
    again = by_token(site, leaked)
    assert again.code == 0
    assert "It is dead already" in again.errors
    assert json.loads(again.output)["report"]["dead_since"] is not None
    assert entries[1].mints == 2


def test_a_dead_token_that_readers_hold_is_replaced(site: Site) -> None:
    """Somebody revoked it already: nothing is left to kill, and mail is brought back."""
    entry = site.add()
    site.simulator.revoke(entry.first)
    ended = by_token(site, entry.first)
    assert ended.code == 0, ended.errors
    assert "Readers still get it" in ended.errors
    assert entry.serves_a_living_token
    assert json.loads(ended.output)["report"]["all_dead"] is True


def test_a_token_that_rotating_does_not_reach_is_said_to_live(site: Site) -> None:
    """Made in the dashboard and put into the store: readers get another one, and the report says that it still works."""
    entry = site.add()
    made_by_hand = site.simulator.add_token(entry.project)
    entry.seed(made_by_hand)
    ended = by_token(site, made_by_hand, prepare="impatient")
    assert ended.code == 4, ended.errors
    report = json.loads(ended.output)["report"]
    assert report["all_dead"] is False
    assert "still works" in report["not_done"][0]["why"]
    assert entry.serves_a_living_token
    assert entry.stored != made_by_hand


def test_replace_first_keeps_readers_alive_through_a_short_drain(site: Site) -> None:
    """The drain of the policy is an hour, the emergency's a second; one beside it that kills first waits for
    nothing of that."""
    two, one = pair(site), site.add("single")
    ended = emergency(site, "--all", "--drain", "1s")
    assert ended.code == 0, ended.errors
    told = {rotation["policy"]: rotation for rotation in ended.rotations}
    assert told["pair"]["outage_seconds"]["max"] == 0
    assert told["pair"]["exposure_seconds"]["min"] >= 1
    assert not site.simulator.is_alive(two.first)
    assert not site.simulator.is_alive(one.first)
    assert two.serves_a_living_token
    assert one.serves_a_living_token


def test_an_interrupted_emergency_goes_on_where_it_was(site: Site) -> None:
    """Ctrl-C in the drain: 130. The same command again joins it and mints nothing anew; the exposure counts from
    the first report."""
    two = pair(site)
    argv = ("rotate", "pair", "--emergency", "--reason", "leaked", "--drain", "4s", "--yes", "-o", "json")
    child = site.start(*argv)
    eventually(lambda: "draining" in child.errors)
    child.signal(signal.SIGINT)
    stopped = child.wait()
    assert stopped.code == 130
    assert site.simulator.is_alive(two.first)
    served = two.stored
    ended = site.run(*argv)
    assert ended.code == 0, ended.errors
    (told,) = ended.rotations
    assert told["id"] == stopped.rotations[0]["id"]
    assert told["exposure_seconds"]["min"] >= 4
    assert two.stored == served
    assert not site.simulator.is_alive(two.first)


def test_a_person_may_end_the_drain_of_an_emergency(site: Site) -> None:
    """Interrupted in a long drain, then `--order kill-first`: the outgoing token dies at once, and no other."""
    two = pair(site)
    child = site.start("rotate", "pair", "--emergency", "--reason", "leaked", "--drain", "1h", "--yes")
    eventually(lambda: "draining" in child.errors)
    child.signal(signal.SIGINT)
    assert child.wait().code == 130
    served = two.stored
    ended = emergency(site, "pair", "--order", "kill-first")
    assert ended.code == 0, ended.errors
    assert two.stored == served
    assert two.serves_a_living_token
    assert not site.simulator.is_alive(two.first)


def test_an_audit_log_that_takes_no_line_stops_no_emergency(site: Site) -> None:
    """Its lines go to standard error, and somebody must keep them: exit 4."""
    entry = site.add()
    site.environment["ROTATOR_AUDIT_LOG"] = str(site.folder)
    ended = emergency(site, "billing")
    assert ended.code == 4, ended.errors
    assert "audit-event:" in ended.errors
    assert not site.simulator.is_alive(entry.first)
    assert entry.serves_a_living_token


def events_of(errors: str) -> list[str]:
    """Names of the audit events on standard error."""
    lines = [line for line in errors.splitlines() if line.startswith("audit-event: ")]
    return [json.loads(line.partition(" ")[2])["event"] for line in lines]


def test_a_line_that_no_log_takes_is_said_at_once(site: Site) -> None:
    """Before the call that it announces, because the process may not live to say it at the end; and said once."""
    entry = site.add()
    site.environment["ROTATOR_AUDIT_LOG"] = str(site.folder)
    argv = ("rotate", "billing", "--emergency", "--reason", "INC-4711", "--yes")
    paused = site.start_until(MINTED, *argv)
    said = events_of(paused.child.errors)
    assert said[-2:] == ["mint.token.intent", "publish.destination.intent"]
    ended = paused.go_on().wait()
    assert ended.code == 4, ended.errors
    told = events_of(ended.errors)
    assert told[: len(said)] == said
    assert {"mint.token.outcome", "publish.destination.outcome", "token.prove-dead"} < set(told)
    lines = [line for line in ended.errors.splitlines() if line.startswith("audit-event: ")]
    assert len(lines) == len(set(lines))
    assert entry.serves_a_living_token


def test_an_audit_log_that_comes_back_gets_what_was_said(site: Site) -> None:
    """It stands on standard error and in the log, in its place, whose chain verifies: nothing is left to a person."""
    entry = site.add()
    where = site.environment["ROTATOR_AUDIT_LOG"]
    argv = ("rotate", "billing", "--emergency", "--reason", "INC-4711", "--yes")
    Path(where).mkdir(parents=True)
    paused = site.start_until(MINTED, *argv)
    said = events_of(paused.child.errors)
    assert "mint.token.intent" in said
    Path(where).rmdir()
    ended = paused.go_on().wait()
    assert ended.code == 0, ended.errors
    assert events_of(ended.errors) == said
    written = [json.loads(line)["event"] for line in Path(where).read_text(encoding="utf-8").splitlines()]
    of_the_rotation = [one for one in said if one != "journal.create"]
    assert written[: len(of_the_rotation)] == of_the_rotation
    assert "mint.token.outcome" in written
    assert site.audit_holds()
    assert entry.serves_a_living_token
