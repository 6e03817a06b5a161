"""Two projects made alike: real HTTP, a real journal, a real audit log."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rotator.audit.base import AuditEvent
from rotator.engine.leasing import Leasing
from rotator.engine.pair import differences
from rotator.errors import (
    AuditUnavailable,
    CredentialRejected,
    Interrupted,
    LeaseLost,
    Refused,
    UnclearOutcome,
)
from rotator.model import State
from rotator.operations.prepare_standby import Prepared, Record, apply
from rotator.operations.standby_changes import AttachDomain
from rotator.operations.standby_plan import Plan, Readers, compare
from rotator.provider.base import Preparer, Route
from rotator.secret import Secret
from tests.conftest import FakeClock
from tests.engine.bench import Bench
from tests.engine.test_resumption import run

NOWHERE = "16fd2706-8baf-433b-82eb-8c7fada847da"


class Pair:
    """A main project with settings, routes and domains of its own, and a bare standby project."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.bench = Bench(folder, clock)
        self.simulator = self.bench.simulator
        self.main = self.bench.project
        self.standby, self.standby_token = self.simulator.add_project("B")
        self.third, _ = self.simulator.add_project("Newsletter")
        self.second_domain = self.simulator.add_domain("second.example", projects=[self.third, self.main])
        self.bench.document |= {
            "strategy": "create-before-revoke",
            "standby": {"project": self.standby},
            "verify": [{"type": "ping"}, {"type": "send", "from": "rotation@example.com"}],
            "drain": {"min": "2h", "quiet": "1h", "max": "1d"},
        }
        self.reload()
        # Far longer than any waiting, because the heartbeat beats in real time and the rest on the fake clock.
        self.ttl = 1e6
        self.told: list[str] = []
        self.unwritten: list[AuditEvent] = []
        preparer = self.preparer
        preparer.create_route(
            self.main,
            Route("", "Alerts", "alerts", "transactional", {"tls": "enforced", "track_opens": True}),
        )
        preparer.change_route(preparer.route_ids(self.main)["broadcast"], {"track_clicks": True})
        preparer.change_project(
            self.main,
            {
                "smtp_enabled": True,
                "redact_email_content": True,
                "delivery_mode": "sandbox",
                "default_route_id": preparer.route_ids(self.main)["alerts"],
            },
        )
        self.seq = len(self.simulator.events)

    def reload(self) -> None:
        """Reads the policy again, for preparing and for rotating."""
        self.policy = self.bench.policy = self.bench.load_policy()

    @property
    def preparer(self) -> Preparer:
        return self.bench.wiring.preparer

    @property
    def readers(self) -> Readers:
        wiring = self.bench.wiring

        def known(token: Secret) -> str | None:
            entry = wiring.journal.known_token(wiring.fingerprints.of(token))
            return entry.project if entry else None

        return Readers(wiring.journal, known, wiring.destination)

    def compare(self, preparer: Preparer | None = None) -> Plan:
        return compare(self.policy, preparer or self.preparer, self.readers)

    def apply(
        self, plan: Plan | None = None, *, preparer: Any = None, record: Record | None = None
    ) -> Prepared:
        wiring = self.bench.wiring
        return apply(
            plan or self.compare(),
            preparer or self.preparer,
            record or Record(wiring.audit, wiring.clock, "kim@laptop", self.note),
            wiring.journal,
            Leasing(wiring.journal, wiring.holder, wiring.clock, self.bench.stop, ttl=self.ttl),
            self.compare,
            self.told.append,
        )

    def note(self, event: AuditEvent, at: datetime) -> None:
        self.unwritten.append(event)

    # what is true

    @property
    def unlike(self) -> list[str]:
        provider = self.bench.wiring.provider
        return differences(provider.setup(self.main), provider.setup(self.standby))

    @property
    def written(self) -> list[str]:
        """The calls since the beginning that change something, executed or not."""
        reads = {"project", "projects", "routes", "route", "domains", "domain", "ping", "team"}
        return [event.call for event in self.simulator.events_since(self.seq) if event.call not in reads]

    @property
    def audited(self) -> list[dict[str, Any]]:
        return [one for one in self.bench.audited() if one["event"].startswith("standby.")]


class Meddling:
    """The preparer, and something that happens right after its first call of one name."""

    def __init__(self, preparer: Preparer, call: str, then: Callable[[], None]) -> None:
        self._preparer, self._call, self._then = preparer, call, then

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._preparer, name)
        if name != self._call:
            return real

        def meddled(*arguments: Any) -> Any:
            result = real(*arguments)
            then, self._then = self._then, lambda: None
            then()
            return result

        return meddled


@pytest.fixture
def pair(tmp_path: Path, clock: FakeClock) -> Iterator[Pair]:
    made = Pair(tmp_path, clock)
    yield made
    made.bench.wiring.close()
    made.bench.close()


def outcomes(done: Prepared) -> list[str]:
    return [one.outcome for one in done.made]


def texts(plan: Plan, *, blocks: bool) -> str:
    return "\n".join(one.text for one in plan.by_hand if one.blocks is blocks)


# --- the plan -----------------------------------------------------------------------------------


def test_the_plan_names_every_difference_and_changes_nothing(pair: Pair) -> None:
    """What differs is listed in words in the order of doing, and only reads were sent for it."""
    plan = pair.compare()
    assert [change.kind for change in plan.changes] == [
        "route-settings",
        "create-route",
        "default-route",
        *["setting"] * 3,
        *["attach-domain"] * 2,
    ]
    assert [change.text for change in plan.changes] == [
        "route broadcast: track_clicks unset becomes on",
        "route alerts (transactional): is made with track_opens on, tls enforced",
        "default route: transactional becomes alerts",
        "SMTP: off becomes on",
        "redaction of content: off becomes on",
        "delivery mode: live becomes sandbox",
        "domain example.com: is attached, and stays attached to every project it has",
        "domain second.example: is attached, and stays attached to every project it has",
    ]
    assert plan.exit_code == 4
    assert pair.written == []
    assert {one.subject for one in plan.by_hand} == {"webhooks", "suppressions", "IP restrictions"}
    assert texts(plan, blocks=True) == ""


def test_the_json_of_a_change(pair: Pair) -> None:
    """Programs get the kind, the thing, and what it is and shall be."""
    views = {one["change"]: one for one in (change.view() for change in pair.compare().changes)}
    assert views["route-settings"]["now"] == {"track_clicks": None}
    assert views["route-settings"]["wanted"] == {"track_clicks": True}
    assert (views["create-route"]["subject"], views["create-route"]["wanted"]) == ("alerts", "transactional")
    assert (views["default-route"]["now"], views["default-route"]["wanted"]) == ("transactional", "alerts")


def test_what_only_the_standby_has_is_told_and_left(pair: Pair) -> None:
    """Routes and domains that the main project lacks, and a route of another type, are a person's to judge."""
    pair.apply()
    pair.simulator.add_domain("third.example", projects=[pair.standby])
    pair.preparer.create_route(pair.standby, Route("", "Extra", "extra", "broadcast"))
    pair.preparer.create_route(pair.standby, Route("", "Mixed", "mixed", "broadcast"))
    pair.preparer.create_route(pair.main, Route("", "Mixed", "mixed", "transactional"))
    plan = pair.compare()
    assert plan.changes == ()
    assert plan.exit_code == 4
    for words in ("Domain third.example is attached only", "Route extra is only", "Route mixed is broadcast"):
        assert words in texts(plan, blocks=True)
    done = pair.apply(plan)
    assert (done.made, done.exit_code) == ((), 4)
    assert {"extra", "mixed"} <= set(pair.preparer.route_ids(pair.standby))
    assert "third.example" in pair.preparer.details(pair.standby).domains


def test_inbound_routes_stay_in_their_project(pair: Pair) -> None:
    """An inbound route of the main project is a reminder; it is not copied and keeps no rotation back."""
    pair.preparer.create_route(pair.main, Route("", "Replies", "replies", "inbound"))
    plan = pair.compare()
    assert "Inbound mail (replies)" in texts(plan, blocks=False)
    assert "replies" not in [change.subject for change in plan.changes]
    assert pair.apply(plan).exit_code == 0
    assert pair.unlike == []


@pytest.mark.parametrize("default", [None, "replies"])
def test_a_default_route_that_no_call_gives(pair: Pair, default: str | None) -> None:
    """A default route is not taken away, and one that receives is not made, so a person is told."""

    class Otherwise:
        def details(self, project: str) -> Any:
            found = pair.preparer.details(project)
            return replace(found, default_route=default) if project == pair.main else found

    plan = pair.compare(Otherwise())  # type: ignore[arg-type]
    assert "default-route" not in [change.kind for change in plan.changes]
    assert f"is {default or 'none'}, which no call gives" in texts(plan, blocks=True)


def test_a_standby_project_that_is_not_there(pair: Pair) -> None:
    """It is said how to get one: rotator makes none, because the answer would show a token."""
    pair.bench.document["standby"] = {"project": NOWHERE}
    pair.reload()
    with pytest.raises(Refused, match=NOWHERE) as caught:
        pair.compare()
    assert "Lettermint dashboard" in caught.value.remedy
    assert pair.written == []


def test_a_policy_without_a_standby_project(pair: Pair) -> None:
    """Other strategies and the bridge have nothing to prepare."""
    del pair.bench.document["standby"]
    del pair.bench.document["drain"]
    pair.bench.document["strategy"] = "in-place"
    pair.reload()
    with pytest.raises(Refused, match="has no standby project"):
        pair.compare()


# --- doing it -----------------------------------------------------------------------------------


def test_the_pair_is_alike_and_no_token_was_touched(pair: Pair) -> None:
    """Afterwards the two projects are alike, every domain kept its projects, and all tokens live on."""
    fourth, _ = pair.simulator.add_project("Later")
    plan = pair.compare()
    pair.preparer.attach_domain(pair.second_domain, (pair.third, pair.main, fourth))
    done = pair.apply(plan)
    assert outcomes(done) == ["done"] * 8
    assert (done.errors, done.exit_code) == ((), 0)
    assert done.left is not None
    assert done.left.changes == ()
    assert pair.unlike == []
    main, standby = pair.preparer.details(pair.main), pair.preparer.details(pair.standby)
    assert standby.redacts is True
    assert {one.slug: (one.type, one.settings) for one in standby.routes} == {
        one.slug: (one.type, one.settings) for one in main.routes
    }
    assert pair.preparer.projects_of(pair.second_domain) == (pair.third, pair.main, fourth, pair.standby)
    assert "rotate" not in pair.written
    assert "create-project" not in pair.written
    assert pair.simulator.mints(pair.standby) == pair.simulator.mints(pair.main) == []
    assert pair.simulator.is_alive(pair.standby_token)
    assert pair.simulator.is_alive(pair.bench.first)
    assert pair.told[3] == "SMTP: off becomes on: done"


def test_a_second_time_there_is_nothing_to_do(pair: Pair) -> None:
    """Repeated, the comparison is empty, nothing is written, and the exit code is 0."""
    pair.apply()
    before = pair.written
    plan = pair.compare()
    assert (plan.changes, plan.exit_code) == ((), 0)
    done = pair.apply(plan)
    assert (done.made, done.errors, done.exit_code) == ((), (), 0)
    assert pair.written == before


def test_a_prepared_pair_rotates(pair: Pair) -> None:
    """Preflight refuses the pair beforehand, pointing here, and takes it afterwards."""
    refused = pair.bench.rotate()
    assert refused.state is State.REFUSED
    assert "--prepare-standby billing" in refused.message
    assert pair.apply().exit_code == 0
    rotation = pair.bench.rotate()
    assert rotation.state is State.DRAINING, rotation.message
    assert pair.simulator.is_alive(pair.bench.stored())
    assert len(pair.simulator.sends(pair.standby)) >= 1


def test_each_change_stands_in_the_audit(pair: Pair) -> None:
    """An intent with exactly what is written, then an outcome, for every change, with who did it."""
    plan = pair.compare()
    pair.apply(plan)
    assert [one["event"].rpartition(".")[2] for one in pair.audited] == ["intent", "outcome"] * 8
    assert {one["data"]["by"] for one in pair.audited} == {"kim@laptop"}
    assert {one["project"] for one in pair.audited} == {pair.standby}
    intents = {
        one["data"]["subject"]: one["data"]["writes"] for one in pair.audited if "writes" in one["data"]
    }
    assert intents["second.example"]["project_ids"] == [pair.third, pair.main, pair.standby]
    assert intents["delivery_mode"] == {"delivery_mode": "sandbox"}
    assert all(one["data"]["ok"] for one in pair.audited if "ok" in one["data"])
    pair.bench.assert_audit_holds()


def test_a_domains_list_is_read_right_before_it_is_replaced(pair: Pair) -> None:
    """A project that got the domain while other changes were made keeps it."""
    fourth, _ = pair.simulator.add_project("In between")
    meddling = Meddling(
        pair.preparer,
        "create_route",
        lambda: pair.preparer.attach_domain(pair.second_domain, (pair.third, fourth, pair.main)),
    )
    assert pair.apply(preparer=meddling).exit_code == 0
    assert pair.preparer.projects_of(pair.second_domain) == (pair.third, fourth, pair.main, pair.standby)


def test_a_domains_list_without_the_main_project_is_left_alone(pair: Pair) -> None:
    """A list that contradicts the list of domains is not written back, and the other changes are made."""
    meddling = Meddling(
        pair.preparer,
        "create_route",
        lambda: pair.preparer.attach_domain(pair.second_domain, (pair.third,)),
    )
    done = pair.apply(preparer=meddling)
    assert outcomes(done) == ["done"] * 7 + ["failed"]
    assert (done.exit_code, done.left) == (1, None)
    assert pair.preparer.projects_of(pair.second_domain) == (pair.third,)
    assert [one["event"] for one in pair.audited][-1] == "standby.prepare.outcome"
    assert pair.audited[-1]["data"]["subject"] == "example.com"


def test_what_was_done_meanwhile_is_not_done_again(pair: Pair) -> None:
    """A domain and a route that somebody else gave the standby project just now are left as they are."""

    def somebody_else() -> None:
        pair.preparer.create_route(pair.standby, Route("", "Alerts", "alerts", "transactional"))
        pair.preparer.attach_domain(pair.second_domain, (pair.standby, pair.main, pair.third))

    done = pair.apply(preparer=Meddling(pair.preparer, "change_route", somebody_else))
    assert outcomes(done) == ["done"] * 8
    assert pair.preparer.projects_of(pair.second_domain) == (pair.standby, pair.main, pair.third)
    # The route that came in between has not the settings; that is told, not passed over.
    assert done.left is not None
    assert [change.kind for change in done.left.changes] == ["route-settings"]
    assert done.exit_code == 4


def test_a_stale_plan_is_refused(pair: Pair) -> None:
    """What a person agreed to is what is done: if the projects changed since, nothing is."""
    plan = pair.compare()
    pair.preparer.change_project(pair.main, {"smtp_enabled": False})
    before = pair.written
    with pytest.raises(Refused, match="changed since the plan was made"):
        pair.apply(plan)
    assert pair.written == before
    assert not pair.bench.settings.audit_log.exists() or pair.audited == []


# --- when something goes wrong in the middle -----------------------------------------------------


@pytest.mark.parametrize("fault", ["lost-answer", "error-before"])
@pytest.mark.parametrize(
    ("call", "reached"), [("create-route", 1), ("update-project", 2), ("domain-projects", 6)]
)
def test_an_unclear_answer_ends_it_and_repeating_is_safe(
    pair: Pair, call: str, reached: int, fault: str
) -> None:
    """It says what was done, what is unclear and what was not tried; a repetition comes to the same end."""
    pair.simulator.faults.add(call, fault)
    done = pair.apply()
    assert outcomes(done) == ["done"] * reached + ["unclear"] + ["not-tried"] * (7 - reached)
    assert (done.exit_code, done.left) == (4, None)
    (error,) = done.errors
    assert isinstance(error, UnclearOutcome)
    assert pair.audited[-1]["data"] | {"ok": False, "error": "unclear"} == pair.audited[-1]["data"]
    again = pair.apply()
    assert again.exit_code == 0
    assert pair.unlike == []
    assert pair.compare().changes == ()
    assert sorted(pair.preparer.route_ids(pair.standby)) == ["alerts", "broadcast", "transactional"]


def test_a_refusal_keeps_no_other_change_back(pair: Pair) -> None:
    """A route that is not taken (422) fails, so does what needs it, and everything else is done."""
    pair.simulator.faults.add("create-route", "status", status=422)
    done = pair.apply()
    assert outcomes(done) == ["done", "failed", "failed", *["done"] * 5]
    assert done.exit_code == 1
    assert [type(error) for error in done.errors] == [Refused, Refused]
    assert "422" in str(done.errors[0])
    assert "no route alerts" in str(done.errors[1])
    assert pair.apply().exit_code == 0


def test_a_full_minute_is_waited_for(pair: Pair) -> None:
    """A write that was refused for its rate is made after the wait that was asked for."""
    pair.simulator.faults.add("update-project", "too-many", retry_after=40)
    assert pair.apply().exit_code == 0
    assert 40 in [round(one) for one in pair.bench.clock.waits]


@pytest.mark.parametrize(
    ("ability", "reached"), [("write:routes", 0), ("write:projects", 2), ("write:domains", 6)]
)
def test_a_missing_ability_is_named(pair: Pair, ability: str, reached: int) -> None:
    """A team token that may not do it ends it at the first such change, and the hint names the ability."""
    abilities = {"write:routes", "write:projects", "write:domains"} - {ability}
    reads = {one.replace("write", "read") for one in (ability,)}
    token = pair.simulator.add_team_token(abilities=abilities | reads)
    pair.bench.settings.team_token.get = lambda: token  # type: ignore[method-assign]
    pair.bench.new_process()
    done = pair.apply()
    assert outcomes(done) == ["done"] * reached + ["failed"] + ["not-tried"] * (7 - reached)
    (error,) = done.errors
    assert isinstance(error, CredentialRejected)
    assert ability in error.remedy
    assert done.exit_code == 2


def test_a_signal_ends_it_after_the_change_at_hand(pair: Pair) -> None:
    """What was asked to stop does not begin another change, and exits as the signal says."""
    meddling = Meddling(pair.preparer, "create_route", lambda: pair.bench.stop.request(signal.SIGTERM))
    done = pair.apply(preparer=meddling)
    assert outcomes(done) == ["done", "done", *["not-tried"] * 6]
    (error,) = done.errors
    assert isinstance(error, Interrupted)
    assert done.exit_code == 143


def test_an_emergency_that_takes_the_projects_over_ends_it(pair: Pair) -> None:
    """When the lease is somebody else's, no further change is begun."""
    journal, clock = pair.bench.wiring.journal, pair.bench.clock

    def emergency() -> None:
        clock.advance(3600)
        other = replace(pair.bench.wiring.holder, id="another", label="another")
        journal.acquire(pair.policy.projects, other, ttl=3600)

    pair.ttl = 15.0
    done = pair.apply(preparer=Meddling(pair.preparer, "create_route", emergency))
    assert outcomes(done) == ["done", "done", *["not-tried"] * 6]
    (error,) = done.errors
    assert isinstance(error, LeaseLost)
    assert done.exit_code == 5


class FullLog:
    """An audit log that takes so many events and no more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def record(self, event: AuditEvent, *, at: datetime | None = None) -> None:
        if self.room == 0:
            raise AuditUnavailable("The disk is full")
        self.room -= 1

    def check_writable(self) -> None:
        """Never asked here."""


@pytest.mark.parametrize(
    ("room", "made", "written"),
    [(0, ["failed"], 0), (1, ["done"], 1), (2, ["done", "failed"], 1), (3, ["done", "done"], 2)],
)
def test_nothing_is_changed_that_cannot_be_audited(
    pair: Pair, room: int, made: list[str], written: int
) -> None:
    """Without an intent there is no call; an outcome that the log does not take goes elsewhere, and ends it."""
    record = Record(FullLog(room), pair.bench.clock, "kim@laptop", pair.note)
    done = pair.apply(record=record)
    assert outcomes(done) == [*made, *["not-tried"] * (8 - len(made))]
    assert len(pair.written) == written
    assert [one.event for one in pair.unwritten] == ["standby.prepare.outcome"] * (room % 2)
    (error,) = done.errors
    assert isinstance(error, AuditUnavailable)
    assert done.exit_code == 6


def test_a_comparison_that_fails_afterwards_is_told(pair: Pair) -> None:
    """All changes were made and nobody could say whether the projects are alike: not exit 0."""
    plan = pair.compare()
    meddling = Meddling(
        pair.preparer,
        "attach_domain",
        lambda: pair.simulator.faults.add("project", "status", times=None, status=503),
    )
    done = pair.apply(plan, preparer=meddling)
    assert outcomes(done) == ["done"] * 8
    assert (done.exit_code, done.left) == (6, None)


# --- nobody who sends is surprised --------------------------------------------------------------

FELT = {"track_clicks", "default route", "redaction", "delivery mode"}


def assert_held_back(plan: Plan, reason: str) -> None:
    """Only what nobody feels is left in the plan; the rest is a person's, with the reason."""
    assert [change.kind for change in plan.changes] == [
        "create-route",
        "setting",
        "attach-domain",
        "attach-domain",
    ]
    assert plan.changes[1].text == "SMTP: off becomes on"
    by_hand = [one.text for one in plan.by_hand if one.blocks]
    assert len(by_hand) == len(FELT)
    for text in by_hand:
        assert reason in text
        assert any(word in text for word in FELT)


def test_readers_on_the_standby_project_feel_nothing(pair: Pair) -> None:
    """While a rotation is open, and once its token is current, what they would feel is left to a person."""
    pair.apply()
    rotation = pair.bench.rotate()
    assert rotation.state is State.DRAINING, rotation.message
    spoil(pair)
    assert_held_back(pair.compare(), f"rotation {rotation.id} is unfinished")
    drain(pair)
    plan = pair.compare()
    assert_held_back(plan, "holds this project's token")
    done = pair.apply(plan)
    assert outcomes(done) == ["done"] * 4
    assert done.exit_code == 4
    facts = pair.bench.wiring.provider.project(pair.standby)
    assert (facts.smtp_enabled, facts.delivery_mode) == (True, "sandbox")


def drain(pair: Pair) -> None:
    """Lets the open rotation end."""
    for _ in range(12):
        pair.bench.clock.advance(900)
        run(pair.bench)
    assert pair.bench.wiring.journal.unfinished(pair.main) == []


def spoil(pair: Pair) -> None:
    """Makes the two projects differ in everything once more, by changing the main one."""
    preparer = pair.preparer
    preparer.create_route(pair.main, Route("", "More", "more", "transactional"))
    ids = preparer.route_ids(pair.main)
    preparer.change_route(ids["broadcast"], {"track_clicks": False})
    preparer.change_project(pair.standby, {"smtp_enabled": False})
    preparer.change_project(
        pair.main,
        {"redact_email_content": False, "delivery_mode": "live", "default_route_id": ids["transactional"]},
    )
    for name in ("fifth.example", "sixth.example"):
        pair.simulator.add_domain(name, projects=[pair.main])


def test_a_used_token_of_unknown_readers(pair: Pair) -> None:
    """Where nothing shows whose token is stored and the standby project's was used, it counts as in use."""
    pair.simulator.use(pair.standby, ip="203.0.113.9")
    plan = pair.compare()
    assert_held_back(plan, "was used at 2026-11-21T12:00:00Z from 203.0.113.9")
    assert pair.apply(plan).exit_code == 4


def test_readers_known_to_hold_the_main_projects_token(pair: Pair) -> None:
    """Where the journal knows the stored token for the main project's, a used standby token is no matter."""
    pair.apply()
    pair.bench.rotate()
    drain(pair)
    pair.bench.rotate()
    drain(pair)  # the main project's turn again
    pair.simulator.use(pair.standby)
    spoil(pair)
    assert len(pair.compare().changes) == 8


def test_a_store_without_a_token_has_no_readers(pair: Pair) -> None:
    """Before the first issue nobody holds anything."""
    pair.simulator.use(pair.standby)
    pair.bench.secret_file.write_text('{"other": "kept-as-it-is"}', encoding="utf-8")
    assert len(pair.compare().changes) == 8


def test_a_store_that_cannot_be_read(pair: Pair) -> None:
    """What cannot be read is not taken for nothing."""
    pair.bench.secret_file.write_text("no JSON", encoding="utf-8")
    assert_held_back(pair.compare(), "what readers hold could not be read")


def test_a_switched_off_smtp_is_felt(pair: Pair) -> None:
    """Switching SMTP on takes nothing from anybody; switching it off does."""
    pair.apply()
    pair.simulator.use(pair.standby)
    pair.preparer.change_project(pair.main, {"smtp_enabled": False})
    plan = pair.compare()
    assert plan.changes == ()
    assert "SMTP: on becomes off; not done here" in texts(plan, blocks=True)


def test_a_domain_is_attached_once(pair: Pair) -> None:
    """A list that has the standby project already is not written at all."""
    pair.preparer.attach_domain(pair.second_domain, (pair.main, pair.standby))
    before = pair.written
    change = AttachDomain("second.example", None, pair.standby, pair.second_domain, pair.main)
    change.make(pair.preparer, pair.standby, lambda _: pytest.fail("nothing is to be written"))
    assert pair.written == before
