"""`reconcile` for the states that crashes, faults and people leave behind.

Each state of `STATES` is made; `reconcile` says what is true and the one safe next thing; a person does what it asks
for, types the commands it offers, and the state has ended: readers hold a living token, nothing is unfinished, nobody
has to look at anything. What somebody else changed has its own table, in `test_outside`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from rotator.destinations.file import FileDestination
from rotator.engine.carrier import Carrier
from rotator.errors import Unreachable
from rotator.journal.base import Hold
from rotator.model import ATTENTION_CODES, State
from rotator.operations import rotate as operation
from rotator.operations.verify import verify
from rotator.policies.cron import next_after
from tests.engine.bench import Bench
from tests.engine.callees import with_consumers
from tests.engine.forms import HOUR, begun, bench_of, ended
from tests.engine.test_outside import CHANGES
from tests.engine.test_resumption import (
    Killed,
    die_at_the_mint,
    fail_verification,
    rotate_and_die,
    run,
)
from tests.engine.typing_commands import finding, offered, reconciled, shown, type_command

MakeBench = Callable[..., Bench]
Hand = Callable[[Bench], object]


def nothing(_: Bench) -> None:
    """No hand is needed."""


@dataclass(frozen=True)
class Case:
    """One state, and what there is to do about it."""

    form: str
    make: Hand
    actions: tuple[str, ...]
    """What `reconcile` offers, one after the other."""
    words: str = ""
    """Of the first offer."""
    by_hand: Hand = nothing
    """What a person does before anything is typed."""
    codes: frozenset[str] = frozenset()
    """What `status` raises meanwhile."""


STATES: dict[str, Case] = {}


def state(form: str, *actions: str, name: str = "", **options: Any) -> Callable[[Hand], Hand]:
    """Enters a function that makes a state."""

    def enter(make: Hand) -> Hand:
        said = name or make.__name__.replace("_", " ")
        assert said not in STATES
        codes = frozenset(options.pop("codes", ()))
        STATES[said] = Case(form, make, actions, codes=codes, **options)
        return make

    return enter


def drain_on(bench: Bench, *, hours: float = 1.0) -> None:
    bench.clock.advance(hours * HOUR)
    run(bench)


def break_store(bench: Bench, path: str, *methods: str) -> None:
    """A file destination that does not take a write, in this process."""
    spec = next(one for one in bench.policy.destinations if one.options["path"].endswith(path))
    destination: Any = bench.wiring.destination(spec)
    assert isinstance(destination, FileDestination)

    def away(*_: Any, **__: Any) -> Any:
        raise Unreachable("The store is away")

    for method in methods:
        setattr(destination, method, away)


# --- interrupted and crashed ----------------------------------------------------------------------


@state("in-place", "resume")
def stopped_before_its_mint(bench: Bench) -> None:
    bench.stop.request(signal.SIGTERM)
    bench.rotate()


@state("in-place", "resume", name="killed in the mint, not executed")
def killed_before_execution(bench: Bench) -> None:
    die_at_the_mint(bench, executed=False)
    rotate_and_die(bench)


@state("in-place", "resume", name="killed in the mint, executed")
def killed_after_execution(bench: Bench) -> None:
    die_at_the_mint(bench, executed=True)
    rotate_and_die(bench)


STEPS = {
    "in-place": ("mint+publish", "verify", "prove-dead", "close"),
    "standby": ("mint+stage", "verify-staged", "promote", "verify", "drain", "retire", "prove-dead", "close"),
    "bridge": ("promote-bridge", "drain", "mint+stage", "prove-dead", "promote", "drain-bridge", "close"),
    "assisted": ("take+stage", "verify-staged", "promote", "drain", "revoke", "prove-dead", "close"),
}


def killed_before(step: str) -> Hand:
    def make(bench: Bench) -> None:
        real = Carrier._one_step

        def one_step(self: Carrier, context: Any) -> bool:
            if context.rotation.step == step:
                raise Killed
            return real(self, context)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Carrier, "_one_step", one_step)
            with pytest.raises(Killed):
                go_on_for_ever(bench)

    return make


def go_on_for_ever(bench: Bench) -> None:
    """A day of runs."""
    begun(bench)
    bench.clock.advance(HOUR)
    run(bench)
    if bench.policy.renewal.startswith("rotator stage"):
        drain_on(bench, hours=1.1)
        bench.simulator.revoke(bench.first)  # it waits for a person who does
    for _ in range(40):
        drain_on(bench, hours=0.5)


for _form, _steps in STEPS.items():
    for _step in _steps:
        state(_form, "resume", name=f"{_form}: killed before {_step}")(killed_before(_step))


# --- at rest after a fault ------------------------------------------------------------------------


@state("in-place", "resume", codes=["token-dead"])
def the_store_took_no_token(bench: Bench) -> None:
    break_store(bench, "billing.json", "publish")
    assert bench.rotate().state is State.NEEDS_ATTENTION


@state("in-place", "resume", codes=["unclear"])
def nobody_could_tell_what_became_of_the_mint(bench: Bench) -> None:
    bench.simulator.faults.add("rotate", "lost-answer")
    fault = bench.simulator.faults.add("project", "error-before", times=None, skip=3)
    assert bench.rotate().state is State.NEEDS_ATTENTION
    bench.simulator.faults.remove(fault)


@state("in-place", "resume", codes=["verification-failed"])
def the_new_token_did_not_pass(bench: Bench) -> None:
    bench.simulator.faults.add("rotate", "slow-new-token", seconds=100)
    assert bench.rotate().state is State.NEEDS_ATTENTION
    bench.clock.advance(100)


@state("in-place", "rotate", codes=["verification-failed"], words="dead token")
def the_new_token_did_not_pass_and_was_killed(bench: Bench) -> None:
    fail_verification(bench)
    bench.simulator.regenerate(bench.project)


@state("two-places", "resume", codes=["destination-behind"])
def a_follower_took_no_token(bench: Bench) -> None:
    break_store(bench, "second.json", "publish")
    assert bench.rotate().state is State.NEEDS_ATTENTION


@state("in-place", "resume", codes=["audit"])
def the_audit_took_no_line(bench: Bench) -> None:
    real = bench.wiring.provider.rotate_token
    log, kept = bench.settings.audit_log, bench.settings.audit_log.with_suffix(".kept")

    def break_audit(project: str) -> object:
        minted = real(project)
        log.rename(kept)
        log.mkdir()
        return minted

    bench.wiring.provider.rotate_token = break_audit  # type: ignore[method-assign, assignment]
    assert bench.rotate().state is State.NEEDS_ATTENTION
    log.rmdir()
    kept.rename(log)


def revoke_first(bench: Bench) -> None:
    bench.simulator.revoke(bench.first)


def store_dashboard_token(bench: Bench) -> None:
    bench.first = bench.simulator.add_token(bench.project)
    bench.write_secret(bench.secret_file, bench.first)
    assert bench.rotate().state is State.NEEDS_ATTENTION


@state("in-place", "wait", by_hand=revoke_first, codes=["old-token-alive"], words="revoke the outgoing token")
def the_old_token_was_made_in_the_dashboard(bench: Bench) -> None:
    store_dashboard_token(bench)


@state("in-place", "wait", codes=["old-token-alive"], words="revoked in the Lettermint dashboard")
def the_old_token_lived_and_no_copy_is_left(bench: Bench) -> None:
    store_dashboard_token(bench)
    for path in bench.folder.glob("*.rotator"):
        path.unlink()
    bench.new_process()
    run(bench)
    bench.simulator.revoke(bench.first)


@state("in-place", "wait", codes=["endpoint-gone"], words="assisted")
def rotate_token_is_gone(bench: Bench) -> None:
    bench.simulator.faults.add("rotate", "gone", status=410, times=1)
    assert bench.rotate().state is State.NEEDS_ATTENTION


@state("in-place", "wait", codes=["verification-failed"], words="does not pass verification")
def a_verification_by_hand_failed(bench: Bench) -> None:
    bench.simulator.restrict(bench.first, ["192.0.2.1"])
    assert not verify(bench.wiring.ports, bench.policy)[0].ok
    bench.simulator.restrict(bench.first, None)


@state("in-place", "resume", codes=["orphan"])
def its_policy_was_gone(bench: Bench) -> None:
    die_at_the_mint(bench, executed=True)
    rotate_and_die(bench)
    outcome = operation.run(bench.runner, bench.wiring.ports, (), next_after, bench.stop)
    assert outcome.exit_code == 4


@state("in-place", "rotate", words="issues the first")
def no_token_was_ever_stored(bench: Bench) -> None:
    bench.secret_file.write_text('{"other": "kept-as-it-is"}', encoding="utf-8")


@state("assisted", "stage", words="rotator stage billing", name="assisted: no token was ever stored")
def no_token_to_assist(bench: Bench) -> None:
    bench.secret_file.write_text('{"other": "kept-as-it-is"}', encoding="utf-8")


@state("in-place", "wait", "resume", words="rotator release billing")
def held_in_mid_rotation(bench: Bench) -> None:
    stopped_before_its_mint(bench)
    bench.new_process()
    bench.wiring.journal.hold(Hold("billing", bench.clock.now(), "ana@desk", "a look first"))


def make_reachable(bench: Bench) -> None:
    bench.simulator.faults.clear()


@state("in-place", "wait", by_hand=make_reachable, words="not everything could be asked")
def the_provider_was_away(bench: Bench) -> None:
    bench.simulator.faults.add("*", "error-before", times=None)


# --- in mid-drain ---------------------------------------------------------------------------------


@state("standby", "rollback", codes=["destination-behind"], words="put the outgoing token back")
def the_outgoing_token_was_put_back_under_readers(bench: Bench) -> None:
    assert begun(bench).state is State.DRAINING
    bench.write_secret(bench.secret_file, bench.first)
    drain_on(bench)


@state("bridge", "rollback", codes=["destination-behind"], words="put the outgoing token back")
def readers_were_taken_off_the_bridge(bench: Bench) -> None:
    assert begun(bench).state is State.DRAINING
    bench.write_secret(bench.secret_file, bench.first)
    drain_on(bench)


@state("standby", "rollback", codes=["token-dead"], words="outgoing one is not retired yet")
def the_new_token_was_killed_in_the_drain(bench: Bench) -> None:
    assert begun(bench).state is State.DRAINING
    bench.clock.advance(60)
    bench.simulator.regenerate(bench.other_project)
    drain_on(bench)


@state("assisted", "rollback", codes=["token-dead"], words="outgoing one is not retired yet")
def the_handed_in_token_was_revoked_in_the_drain(bench: Bench) -> None:
    assert begun(bench).state is State.DRAINING
    bench.simulator.revoke(bench.stored())
    drain_on(bench)


@state("bridge", "rollback", codes=["token-dead"], words="outgoing one is not retired yet")
def the_bridge_was_revoked_under_readers(bench: Bench) -> None:
    assert begun(bench).state is State.DRAINING
    bench.simulator.revoke(bench.stored())
    drain_on(bench)
    bench.write_secret(bench.folder / "bridge.json", bench.simulator.add_token(bench.project))


@state("bridge", "rotate", codes=["token-dead"], words="dead token")
def the_new_token_was_killed_while_the_bridge_drained(bench: Bench) -> None:
    begun(bench)
    drain_on(bench, hours=2.1)
    assert shown(bench).state == "draining"
    bench.clock.advance(60)
    bench.simulator.regenerate(bench.project)
    drain_on(bench, hours=0.1)


@state("standby", "wait", codes=["drain-stuck"], words="rotator retire billing --force")
def a_consumer_stayed_on_the_outgoing_token(bench: Bench) -> None:
    assert begun(bench).state is State.DRAINING
    for _ in range(26):
        bench.simulator.use(bench.project, ip="203.0.113.9")
        drain_on(bench)


@state("assisted", "wait", by_hand=revoke_first, codes=["old-token-alive"], words="dashboard")
def a_person_has_to_revoke_the_outgoing_token(bench: Bench) -> None:
    begun(bench)
    drain_on(bench, hours=2.1)


def two_places_standby(bench: Bench) -> None:
    second = bench.folder / "second.json"
    bench.write_secret(second, bench.first)
    destination = {"type": "file", "path": str(second), "format": "json", "key": "token"}
    bench.document["destinations"].append(destination)
    bench.policy = bench.load_policy()


@state("standby", "sync", codes=["destination-behind"], words="needs no mint")
def a_follower_was_restored_in_the_drain(bench: Bench) -> None:
    two_places_standby(bench)
    assert begun(bench).state is State.DRAINING
    bench.write_secret(bench.folder / "second.json", bench.first)
    drain_on(bench)


@state("standby", "resume", codes=["destination-behind"])
def a_follower_did_not_promote(bench: Bench) -> None:
    two_places_standby(bench)
    break_store(bench, "second.json", "promote")
    assert begun(bench).state is State.NEEDS_ATTENTION


# --- which side is active -------------------------------------------------------------------------


def forget_the_journal(bench: Bench) -> None:
    bench.wiring.close()
    for path in (bench.folder / "state").iterdir():
        path.unlink()


@state("standby", "adopt", words="project")
def the_journal_was_lost(bench: Bench) -> None:
    assert ended(bench, begun(bench)).state is State.COMPLETED
    forget_the_journal(bench)


@state("standby", "adopt", codes=["out-of-band"], words="no rotation of ours wrote")
def readers_were_moved_to_the_idle_project_by_hand(bench: Bench) -> None:
    assert ended(bench, begun(bench)).state is State.COMPLETED
    bench.clock.advance(HOUR)
    bench.write_secret(bench.secret_file, bench.simulator.regenerate(bench.project))
    run(bench)


@state("standby", "wait", codes=["out-of-band"], words="--active PROJECT")
def nothing_shows_which_side_is_active(bench: Bench) -> None:
    bench.document["verify"] = [{"type": "ping"}]
    bench.policy = bench.load_policy()
    assert begun(bench).state is State.NEEDS_ATTENTION


@state("bridge", "wait", codes=["bridge-old"], words="known for")
def the_bridge_grew_old(bench: Bench) -> None:
    assert ended(bench, begun(bench)).state is State.COMPLETED
    bench.clock.advance(200 * 24 * HOUR)
    ended(bench, begun(bench))
    bench.write_secret(bench.folder / "bridge.json", bench.simulator.add_token(bench.project))


def a_rollout_does_not_end(bench: Bench) -> None:
    mailer = with_consumers(bench)["mailer"]
    mailer.ends = False
    begun(bench)
    bench.clock.advance(HOUR)
    bench.new_process()
    run(bench)


def finish_the_rollout(bench: Bench) -> None:
    bench.wiring.consumer({"type": "kubernetes-restart", "name": "mailer"}).ends = True  # type: ignore[attr-defined]


for form in ("in-place", "standby", "bridge", "assisted"):
    state(
        form,
        "wait",
        name=f"a rollout does not end, {form}",
        codes=["consumer-behind"],
        words="0 of 1 pods are new",
        by_hand=finish_the_rollout,
    )(a_rollout_does_not_end)


# --- the tests ------------------------------------------------------------------------------------


def take_next(bench: Bench, by_hand: Hand) -> str:
    """Does the one next thing that `reconcile` says, as a person would, and returns what kind it is."""
    found = finding(bench)
    if found.action not in ("wait", "stage"):
        reconciled(bench)
        return found.action
    by_hand(bench)
    commands = offered(found.why)
    if not commands and found.action == "wait" and by_hand is nothing:
        commands = ["rotate billing"]  # what is asked for was done before
    for command in commands[:1]:
        typed = command.replace("PROJECT", bench.project)
        type_command(bench, typed, made=bench.simulator.add_token(bench.project))
    return found.action


@pytest.mark.parametrize("name", STATES)
def test_the_one_next_thing_ends_it(make_bench: MakeBench, name: str) -> None:
    """What is true and what to do is said; done, nothing is left of the state."""
    case = STATES[name]
    bench = bench_of(case.form, make_bench)
    case.make(bench)
    bench.new_process()
    found = finding(bench)
    assert found.action == case.actions[0], found
    assert case.words in found.why
    assert found.facts or found.unknown
    assert case.codes <= bench.attention
    done = [take_next(bench, case.by_hand) for _ in case.actions]
    assert done == list(case.actions)
    for rotation in bench.wiring.journal.unfinished():
        revoke_first(bench) if bench.simulator.is_alive(bench.first) and case.form == "assisted" else None
        ended(bench, rotation)
    bench.clock.advance(60)
    assert run(bench).exit_code == 0, bench.wiring.journal.attentions()
    assert bench.attention == set()
    assert bench.wiring.journal.unfinished() == []
    assert finding(bench).action == "none"
    bench.assert_served()
    bench.assert_audit_holds()


def test_every_attention_has_a_state() -> None:
    """Whatever `status` can raise, some state here or in `test_outside` raises it and ends it."""
    raised = {code for case in STATES.values() for code in case.codes}
    raised |= {change.code for change in CHANGES.values()}
    assert raised == ATTENTION_CODES
