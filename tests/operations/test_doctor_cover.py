"""What `doctor` says about a standby project and about a bridge token: real HTTP, real files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rotator.errors import RateLimited
from rotator.model import ProjectSetup, State
from rotator.operations.doctor.pair import examine_cover
from rotator.operations.doctor.parts import Parts, Records
from rotator.operations.doctor.policy import examine_policy
from rotator.operations.doctor.provider import Reached
from rotator.operations.doctor.report import Check, Findings, Result
from rotator.secret import Secret
from tests.conftest import FakeClock
from tests.engine.bench import Bench

NOWHERE = "16fd2706-8baf-433b-82eb-8c7fada847da"


def unasked(*_: Any) -> Any:
    raise AssertionError("this part is not needed here")


class Cover:
    """A policy with one of the two covers, and the checks of it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.provider: Any = bench.wiring.provider
        self.reads_projects = True
        self.begun = True

    def change(self, **policy: Any) -> None:
        self.bench.document |= {"strategy": "create-before-revoke", **policy}
        self.bench.policy = self.bench.load_policy()

    @property
    def parts(self) -> Parts:
        wiring = self.bench.wiring
        return Parts(
            clock=wiring.clock,
            provider=unasked,
            destination=wiring.destination,
            verifier=wiring.verifier,
            consumer=unasked,
            read_key=unasked,
            open_journal=unasked,
            check_key=unasked,
            open_audit=unasked,
            check_chain=unasked,
        )

    @property
    def records(self) -> Records:
        wiring = self.bench.wiring
        return Records(wiring.journal, wiring.audit, wiring.fingerprints) if self.begun else Records()

    def examine(self, *, token: Secret | None = None, unfinished: bool = False) -> list[Check]:
        found = Findings("billing")
        reached = Reached(self.provider, reads_projects=self.reads_projects)
        examine_cover(
            self.bench.policy,
            self.parts,
            self.records,
            reached,
            found,
            token=token,
            unfinished=unfinished,
        )
        for check in found.checks:
            assert bool(check.hint) == (check.result is not Result.OK), check
            assert bool(check.code) == (check.result is Result.FAILED), check
        return found.checks


def results(checks: list[Check]) -> dict[str, Result]:
    assert len({check.name for check in checks}) == len(checks), checks
    return {check.name: check.result for check in checks}


@pytest.fixture
def cover(tmp_path: Path, clock: FakeClock) -> Iterator[Cover]:
    bench = Bench(tmp_path, clock)
    yield Cover(bench)
    bench.wiring.close()
    bench.close()


@pytest.fixture
def pair(cover: Cover) -> Cover:
    cover.change(standby={"project": cover.bench.other_project})
    return cover


@pytest.fixture
def bridge(cover: Cover) -> Cover:
    path = cover.bench.folder / "bridge.json"
    cover.bench.write_secret(path, cover.bench.simulator.add_token(cover.bench.project))
    spec = {"type": "file", "path": str(path), "format": "json", "key": "token"}
    cover.change(standby={"token": spec})
    return cover


def hold(cover: Cover, token: Secret | str) -> None:
    value = token.reveal() if isinstance(token, Secret) else token
    text = json.dumps({"token": value})
    (cover.bench.folder / "bridge.json").write_text(text, encoding="utf-8")


def test_in_place_needs_no_cover(cover: Cover) -> None:
    """Other strategies get no check of it."""
    assert cover.examine() == []


# --- the standby project ------------------------------------------------------------------------


def test_an_alike_pair(pair: Cover) -> None:
    """Both projects visible and alike: two checks, both ok."""
    assert results(pair.examine()) == {"standby": Result.OK, "standby.alike": Result.OK}


def test_every_difference_is_a_failed_check(pair: Cover) -> None:
    """One check for each, with the command that helps; a rotation would be refused, so exit 1."""
    bench = pair.bench
    bench.wiring.preparer.change_project(bench.project, {"smtp_enabled": True, "delivery_mode": "sandbox"})
    bench.simulator.add_domain("only.example", projects=[bench.project])
    alike = [check for check in pair.examine() if check.name == "standby.alike"]
    assert [check.result for check in alike] == [Result.FAILED] * 3
    assert {(check.code, check.subject) for check in alike} == {(1, bench.other_project)}
    assert {check.hint for check in alike} == {
        "`rotator doctor --prepare-standby billing` shows what makes them alike, and does what calls can do."
    }
    said = " ".join(check.detail for check in alike)
    for word in ("SMTP", "delivery mode", "only.example"):
        assert word in said


def test_whose_token_readers_hold(pair: Cover) -> None:
    """By evidence: unknown until the journal knows the stored token, then told, and the idle project's token is free."""
    bench = pair.bench
    first = results(pair.examine(token=bench.first))
    assert first["standby.active"] is Result.UNKNOWN
    bench.runner.adopt(bench.policy, bench.first, bench.project)
    checks = {check.name: check for check in pair.examine(token=bench.first)}
    assert (checks["standby.active"].result, checks["standby.active"].subject) == (Result.OK, bench.project)
    assert (checks["standby.idle"].result, checks["standby.idle"].subject) == (
        Result.OK,
        bench.other_project,
    )


def test_before_the_first_rotation_doctor_says_that_it_would_not_begin(pair: Cover) -> None:
    """Where there is no journal yet nothing shows whose token it is either; a send verifier lets a rotation find out."""
    pair.begun = False
    (check,) = (one for one in pair.examine(token=pair.bench.first) if one.name == "standby.active")
    assert check.result is Result.UNKNOWN
    assert "No rotation begins before that is known" in check.hint
    assert "`rotator reconcile billing --active PROJECT`" in check.hint
    pair.change(
        standby={"project": pair.bench.other_project},
        verify=[{"type": "send", "from": "rotation@example.com"}],
    )
    (check,) = (one for one in pair.examine(token=pair.bench.first) if one.name == "standby.active")
    assert "A rotation finds out by its test send" in check.hint


def test_an_idle_project_in_use(pair: Cover) -> None:
    """A mint there would kill the token under its user, whose address is named; free again after `quiet`."""
    bench = pair.bench
    bench.runner.adopt(bench.policy, bench.first, bench.project)
    bench.clock.advance(60)
    bench.simulator.use(bench.other_project, ip="203.0.113.9")
    (check,) = (one for one in pair.examine(token=bench.first) if one.name == "standby.idle")
    assert (check.result, check.code) == (Result.FAILED, 1)
    assert "203.0.113.9" in check.detail
    bench.clock.advance(3601)
    assert results(pair.examine(token=bench.first))["standby.idle"] is Result.OK


def test_a_standby_project_that_is_not_there(pair: Cover) -> None:
    """It is said how to get one, and the comparison is left out."""
    pair.change(standby={"project": NOWHERE})
    (check,) = pair.examine()
    assert (check.name, check.result, check.code, check.subject) == ("standby", Result.FAILED, 1, NOWHERE)
    assert "dashboard" in check.hint


@pytest.mark.parametrize("missing", ["read:routes", "read:domains"])
def test_a_missing_ability(pair: Cover, missing: str) -> None:
    """What may not be read is named, as a wrong permission: exit 2."""
    abilities = {"read:projects", "read:routes", "read:domains"} - {missing}
    token = pair.bench.simulator.add_team_token(abilities=abilities)
    pair.bench.settings.team_token.get = lambda: token  # type: ignore[method-assign]
    pair.provider = pair.bench.new_process().provider
    (check,) = pair.examine()
    assert (check.result, check.code) == (Result.FAILED, 2)
    assert missing in check.hint


@pytest.mark.parametrize("what", ["nobody", "unreadable"])
def test_without_the_provider(pair: Cover, what: str) -> None:
    """Where nobody answers, or projects cannot be read, the check is skipped."""
    if what == "nobody":
        pair.provider = None
    pair.reads_projects = False
    assert results(pair.examine()) == {"standby": Result.SKIPPED}


@pytest.mark.parametrize(("full", "result"), [(1, Result.OK), (2, Result.FAILED)])
def test_a_full_limit_is_waited_for_once(pair: Cover, full: int, result: Result) -> None:
    """With many policies the limit on reads may be full; a second time is a finding."""
    real = pair.provider

    class Full:
        left = full

        def setup(self, project: str) -> ProjectSetup:
            if self.left:
                self.left -= 1
                raise RateLimited("full", retry_after=50, then="Try later")
            found: ProjectSetup = real.setup(project)
            return found

    pair.provider = Full()
    before = len(pair.bench.clock.waits)
    assert pair.examine()[0].result is result
    assert pair.bench.clock.waits[before:] == [50]


# --- the bridge ---------------------------------------------------------------------------------


def test_a_sound_bridge(bridge: Cover) -> None:
    """Readable, alive, another token: three checks, all ok, also before there is a journal."""
    for begun in (True, False):
        bridge.begun = begun
        assert results(bridge.examine(token=bridge.bench.first)) == {
            "bridge.read": Result.OK,
            "bridge.token": Result.OK,
            "bridge.another": Result.OK,
        }


@pytest.mark.parametrize(("held", "words"), [("", "nothing"), ("a password", "no project token")])
def test_a_bridge_without_a_token(bridge: Cover, held: str, words: str) -> None:
    """What covers nothing refuses a rotation."""
    hold(bridge, held)
    (check,) = bridge.examine(token=bridge.bench.first)
    assert (check.name, check.result, check.code) == ("bridge.read", Result.FAILED, 1)
    assert f"holds {words}" in check.detail
    assert "dashboard" in check.hint


def test_a_bridge_that_cannot_be_read(bridge: Cover) -> None:
    """The store's own reason and hint are shown."""
    (bridge.bench.folder / "bridge.json").write_text("no JSON", encoding="utf-8")
    (check,) = bridge.examine(token=bridge.bench.first)
    assert (check.name, check.result) == ("bridge.read", Result.FAILED)
    assert "bridge.json" in check.subject


def test_a_dead_bridge(bridge: Cover) -> None:
    """A revoked token covers nothing."""
    stored = bridge.bench.stored(bridge.bench.folder / "bridge.json")
    bridge.bench.simulator.revoke(stored)
    checks = bridge.examine(token=bridge.bench.first)
    assert results(checks)["bridge.token"] is Result.FAILED
    assert "(401)" in checks[1].detail


def test_a_restricted_bridge(bridge: Cover) -> None:
    """Forbidden from here is neither alive nor dead."""
    stored = bridge.bench.stored(bridge.bench.folder / "bridge.json")
    bridge.bench.simulator.restrict(stored, ["203.0.113.7"])
    assert results(bridge.examine(token=bridge.bench.first))["bridge.token"] is Result.WARNING


@pytest.mark.parametrize("broken", ["nobody", "failing"])
def test_a_provider_that_cannot_be_asked(bridge: Cover, broken: str) -> None:
    """Skipped where it is known not to answer, failed where it stops answering; the rest is looked at."""
    if broken == "nobody":
        bridge.provider = None
    else:
        bridge.bench.simulator.faults.add("ping", "status", times=None, status=503)
    found = results(bridge.examine(token=bridge.bench.first))
    assert found["bridge.token"] is (Result.SKIPPED if broken == "nobody" else Result.FAILED)
    assert found["bridge.another"] is Result.OK


@pytest.mark.parametrize(("unfinished", "result"), [(False, Result.FAILED), (True, Result.OK)])
def test_the_very_token_that_rotating_kills(bridge: Cover, unfinished: bool, result: Result) -> None:
    """No cover, unless readers stand on the bridge because a rotation is unfinished."""
    hold(bridge, bridge.bench.first)
    assert (
        results(bridge.examine(token=bridge.bench.first, unfinished=unfinished))["bridge.another"] is result
    )


def test_a_token_that_we_minted(bridge: Cover) -> None:
    """It is the project's original token, whatever the store holds at the moment."""
    before = bridge.bench.document
    bridge.bench.document = {**before, "strategy": "in-place"}
    del bridge.bench.document["standby"]
    bridge.bench.policy = bridge.bench.load_policy()
    assert bridge.bench.rotate().state is State.COMPLETED
    minted = bridge.bench.stored()
    bridge.bench.document = before
    bridge.change()
    hold(bridge, minted)
    for unfinished in (False, True):
        assert results(bridge.examine(token=None, unfinished=unfinished))["bridge.another"] is Result.FAILED


def test_nothing_to_compare_with(bridge: Cover) -> None:
    """Without a living token in the first destination it cannot be told whether it is another one."""
    assert results(bridge.examine(token=None))["bridge.another"] is Result.SKIPPED


@pytest.mark.parametrize(("days", "old"), [(180, False), (181, True)])
def test_an_old_bridge(bridge: Cover, days: int, old: bool) -> None:
    """It can only be renewed by hand, so after half a year somebody is reminded."""
    assert bridge.bench.rotate().state is State.DRAINING
    # The drain would end by and by; only the bridge's age matters here.
    bridge.bench.clock.advance(timedelta(days=days).total_seconds())
    checks = bridge.examine(token=bridge.bench.first)
    assert ("bridge.age" in [check.name for check in checks]) is old
    if old:
        assert "181 days" in checks[-1].detail


def test_doctor_asks_it(bridge: Cover) -> None:
    """The checks of a policy include its cover's, compared with what the first destination holds."""
    hold(bridge, bridge.bench.first)
    wiring, found = bridge.bench.wiring, Findings("billing")
    reached = Reached(wiring.provider, reads_projects=True)
    examine_policy(bridge.bench.policy, bridge.parts, bridge.records, reached, found)
    assert [check.name for check in found.checks if check.result is Result.FAILED] == ["bridge.another"]
