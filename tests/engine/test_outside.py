"""What somebody else changed: found by `run`, `serve` and `status --refresh`, classified, never papered over.

Each change of `CHANGES` is made at each form where it can be made, and found by each of the three. `status` then
shows it with a command to type, nothing was minted or written for it, and it ends when the state ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rotator.destinations.base import Reading
from rotator.errors import NeedsAttention
from rotator.model import State
from rotator.operations import rotate as operation
from rotator.operations.status import refresh
from rotator.policies.cron import next_after
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.forms import FORMS, begun, bench_of, ended, rotated
from tests.engine.test_resumption import Killed, run
from tests.engine.typing_commands import (
    attention_words,
    finding,
    offered,
    reconciled,
    shown,
    type_command,
)

INVENTED = Secret("lm_" + "Q" * 32)
MakeBench = Callable[..., Bench]


def serve(bench: Bench) -> int:
    """One look of the daemon, and what it does about it."""
    ports = bench.wiring.ports
    seen = operation.look(ports, bench.policy, next_after, bench.stop, recent=0.0)
    acted = operation.act(bench.runner, ports, seen, next_after)
    return max(seen.outcome.exit_code, acted.exit_code)


FINDERS: dict[str, Callable[[Bench], object]] = {
    "run": run,
    "serve": serve,
    "status --refresh": lambda bench: refresh(bench.wiring.ports, [bench.policy]),
}


def active(bench: Bench) -> str:
    project = shown(bench).active_project
    assert project is not None
    return project


def idle(bench: Bench) -> str:
    return next(one for one in bench.policy.projects if one != active(bench))


def other_place(bench: Bench) -> Path:
    return bench.folder / "second.json"


def bridge_place(bench: Bench) -> Path:
    return bench.folder / "bridge.json"


def write(bench: Bench, value: Callable[[Bench], Secret], *places: Callable[[Bench], Path]) -> None:
    for place in places or (lambda one: one.secret_file,):
        bench.write_secret(place(bench), value(bench))


def write_everywhere(bench: Bench, token: Secret) -> None:
    write(bench, lambda _: token, lambda one: one.secret_file, other_place)


@dataclass(frozen=True)
class Change:
    """One thing that somebody else does."""

    make: Callable[[Bench], object]
    code: str
    words: str
    """Of what `status` says."""
    forms: tuple[str, ...] = FORMS
    spreads: bool = False
    """`run` and `serve` mend it by themselves, without a mint."""


ALIVE_ELSEWHERE = lambda bench: bench.simulator.add_token(active(bench))  # noqa: E731

CHANGES: dict[str, Change] = {
    "regenerated in the dashboard": Change(
        lambda bench: bench.simulator.regenerate(active(bench)),
        "token-dead",
        "refused by the provider (401)",
        # The metadata of a project does not tell of a hand-made token.
        forms=("in-place", "two-places", "standby", "bridge"),
    ),
    "another living token in the store": Change(
        lambda bench: write(bench, ALIVE_ELSEWHERE), "out-of-band", "no rotation of ours wrote"
    ),
    "the same living token in all stores": Change(
        lambda bench: write_everywhere(bench, ALIVE_ELSEWHERE(bench)),
        "out-of-band",
        "no rotation of ours wrote",
        forms=("two-places",),
    ),
    "an earlier token of ours in the store": Change(
        lambda bench: write(bench, lambda one: one.first), "token-dead", "refused by the provider (401)"
    ),
    "a dead token that nobody knows in the store": Change(
        lambda bench: write(bench, lambda _: INVENTED), "token-dead", "refused by the provider (401)"
    ),
    "garbage in the store": Change(
        lambda bench: write(bench, lambda _: Secret("changeme")), "out-of-band", "not a project token"
    ),
    "the store emptied": Change(
        lambda bench: write(bench, lambda _: Secret("")), "out-of-band", "holds no token"
    ),
    "a follower restored": Change(
        lambda bench: write(bench, lambda one: one.first, other_place),
        "destination-behind",
        "disagree",
        forms=("two-places",),
        spreads=True,
    ),
    "a follower with a living token": Change(
        lambda bench: write(bench, ALIVE_ELSEWHERE, other_place),
        "destination-behind",
        "second.json",
        forms=("two-places",),
    ),
    "a follower with garbage": Change(
        lambda bench: write(bench, lambda _: Secret("changeme"), other_place),
        "destination-behind",
        "second.json",
        forms=("two-places",),
    ),
    "the idle project's token made anew": Change(
        lambda bench: bench.simulator.regenerate(idle(bench)),
        "out-of-band",
        "idle project",
        forms=("standby",),
    ),
    "the bridge token revoked": Change(
        lambda bench: bench.simulator.revoke(bench.stored(bridge_place(bench))),
        "out-of-band",
        "bridge",
        forms=("bridge",),
    ),
    "the bridge's secret emptied": Change(
        lambda bench: write(bench, lambda _: Secret(""), bridge_place),
        "out-of-band",
        "bridge",
        forms=("bridge",),
    ),
    "the project deleted": Change(
        lambda bench: delete_project(bench, active(bench)), "out-of-band", "not visible any more"
    ),
    "the idle project deleted": Change(
        lambda bench: delete_project(bench, idle(bench)),
        "out-of-band",
        "not visible any more",
        forms=("standby",),
    ),
}

CASES = [
    pytest.param(form, change, finder, id=f"{form}: {name}: {finder}")
    for name, change in CHANGES.items()
    for form in change.forms
    for finder in FINDERS
]


def delete_project(bench: Bench, project: str) -> None:
    """Through the API, as any owner of a team token can."""
    import httpx  # noqa: PLC0415

    token = bench.settings.team_token.get().reveal()
    answer = httpx.delete(
        f"{bench.simulator.url}/projects/{project}", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200


@pytest.mark.one_in(3, 3)
@pytest.mark.parametrize(("form", "change", "finder"), CASES)
def test_it_is_found_and_nothing_is_papered_over(
    make_bench: MakeBench, form: str, change: Change, finder: str
) -> None:
    """Raised under its code, in words with a command; twice the same; nothing minted and no living token replaced."""
    bench = rotated(form, make_bench)
    bench.clock.advance(3600)
    change.make(bench)
    mints, stored = bench.rotate_calls, bench.secret_file.read_text(encoding="utf-8")
    for _ in range(2):
        bench.clock.advance(600)
        # The daemon's look raises what its loop tells.
        with contextlib.suppress(NeedsAttention):
            FINDERS[finder](bench)
        if change.spreads and finder != "status --refresh":
            assert bench.attention == set()
            assert bench.stored(other_place(bench)) == bench.stored()
            continue
        assert bench.attention == {change.code}
        status = shown(bench)
        assert status.state == "needs-attention"
        words = attention_words(bench, change.code)
        assert change.words in words
        assert offered(words) or "Lettermint dashboard" in words
        bench.new_process()
    assert bench.rotate_calls == mints
    assert bench.secret_file.read_text(encoding="utf-8") == stored


# --- and how it ends ------------------------------------------------------------------------------


def empty(place: Callable[[Bench], Path]) -> Callable[[Bench], object]:
    return lambda bench: write(bench, lambda _: Secret(""), place)


def make_bridge(bench: Bench) -> None:
    write(bench, lambda one: one.simulator.add_token(one.project), bridge_place)


def move_to_a_new_project(bench: Bench) -> None:
    """A person makes another project, writes it into the policy, and takes out what the deleted one left."""
    for project in [one for one in bench.policy.projects if not visible(bench, one)]:
        made, _ = bench.simulator.add_project()
        if bench.document["project"] == project:
            bench.document["project"] = bench.project = made
        else:
            bench.document["standby"] = {"project": made}
    bench.policy = bench.load_policy()
    for domain in bench.simulator._world.domains.values():
        domain.projects = list(bench.policy.projects)
    if bridge_place(bench).exists():
        make_bridge(bench)
    for place in (bench.secret_file, other_place(bench)):
        if place.exists() and not bench.simulator.is_alive(bench.stored(place)):
            bench.write_secret(place, Secret(""))
    bench.new_process()


def visible(bench: Bench, project: str) -> bool:
    from rotator.provider.base import ProjectNotVisible  # noqa: PLC0415

    try:
        bench.wiring.provider.project(project)
    except ProjectNotVisible:
        return False
    return True


NOTHING: Callable[[Bench], object] = lambda _: None  # noqa: E731

WAYS_OUT: dict[str, tuple[str, Callable[[Bench], object]]] = {
    "regenerated in the dashboard": ("rotate", NOTHING),
    "another living token in the store": ("adopt", NOTHING),
    "the same living token in all stores": ("adopt", NOTHING),
    "an earlier token of ours in the store": ("rotate", NOTHING),
    "a dead token that nobody knows in the store": ("rotate", NOTHING),
    "garbage in the store": ("wait", empty(lambda one: one.secret_file)),
    "the store emptied": ("rotate", NOTHING),
    "a follower restored": ("sync", NOTHING),
    "a follower with a living token": ("wait", empty(other_place)),
    "a follower with garbage": ("wait", empty(other_place)),
    "the idle project's token made anew": ("adopt", NOTHING),
    "the bridge token revoked": ("wait", make_bridge),
    "the bridge's secret emptied": ("wait", make_bridge),
    "the project deleted": ("wait", move_to_a_new_project),
    "the idle project deleted": ("wait", move_to_a_new_project),
}
"""What `reconcile` offers, and what a person does where it asks for a person."""


def test_each_change_has_a_way_out() -> None:
    """No change is made above that `reconcile` is not asked about below."""
    assert WAYS_OUT.keys() == CHANGES.keys()


def offered_at(form: str, name: str) -> str:
    action, _ = WAYS_OUT[name]
    if form == "assisted" and action == "rotate":
        return "stage"  # a person makes its tokens
    if form == "two-places" and name == "another living token in the store":
        return "sync"  # the other store holds another one, and is ours to write
    return action


def follow(bench: Bench, by_hand: Callable[[Bench], object]) -> list[str]:
    """Does what `reconcile` offers until it offers nothing. Returns what it offered."""
    actions = []
    for _ in range(4):
        found = finding(bench)
        if found.action == "none":
            return actions
        actions.append(found.action)
        if found.action == "wait":
            assert "dashboard" in found.why or "take it out" in found.why or "not ours to write" in found.why
            by_hand(bench)
        elif found.action == "stage":
            (command,) = offered(found.why)
            made = bench.simulator.add_token(bench.project)
            assert type_command(bench, command, made=made) == 0
        else:
            assert reconciled(bench) in (0, 4)
        open_ones = bench.wiring.journal.unfinished()
        for rotation in open_ones:
            bench.simulator.revoke(bench.first) if bench.simulator.is_alive(bench.first) else None
            ended(bench, rotation)
    raise AssertionError(f"reconcile leads round in circles: {actions}, then {finding(bench)}")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        pytest.param(form, name, id=f"{form}: {name}")
        for name, change in CHANGES.items()
        for form in change.forms
    ],
)
def test_doing_what_reconcile_offers_ends_it(make_bench: MakeBench, form: str, name: str) -> None:
    """It says what is true and the one safe next thing; done, readers hold a living token and nothing is left."""
    bench = rotated(form, make_bench)
    bench.clock.advance(3600)
    CHANGES[name].make(bench)
    refresh(bench.wiring.ports, [bench.policy])
    assert bench.attention
    actions = follow(bench, WAYS_OUT[name][1])
    assert actions[0] == offered_at(form, name)
    bench.clock.advance(600)
    outcome = run(bench)
    assert outcome.exit_code == 0, outcome
    assert bench.attention == set()
    bench.assert_served()
    if form == "two-places":
        assert bench.stored(other_place(bench)) == bench.stored()
    bench.assert_audit_holds()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda bench: bench.simulator.add_token(active(bench)), id="another living token"),
        pytest.param(lambda _: INVENTED, id="a dead token"),
        pytest.param(lambda _: Secret("changeme"), id="garbage"),
        pytest.param(lambda _: Secret(""), id="emptied"),
    ],
)
def test_undoing_it_by_hand_ends_it(
    make_bench: MakeBench, form: str, value: Callable[[Bench], Secret]
) -> None:
    """The former token is put back: the next look takes the attention away."""
    bench = rotated(form, make_bench)
    former = bench.stored()
    bench.write_secret(bench.secret_file, value(bench))
    assert run(bench).exit_code == 4
    bench.write_secret(bench.secret_file, former)
    assert run(bench).exit_code == 0
    assert bench.attention == set()


@pytest.mark.parametrize("form", ["in-place", "two-places"])
def test_a_rotation_at_work_is_not_taken_for_somebody_else(make_bench: MakeBench, form: str) -> None:
    """Another process mints and publishes between a look's question to the journal and its reading of the store, and
    has not written it down yet: no alarm."""
    bench = rotated(form, make_bench)
    destination = bench.wiring.destination(bench.policy.authoritative)
    real_read, real_publish = destination.read, destination.publish
    raced: list[bool] = []

    def publish(*arguments: Any, **options: Any) -> None:
        real_publish(*arguments, **options)
        raise Killed

    def read() -> Reading:
        if not raced:
            raced.append(True)
            with pytest.raises(Killed):
                bench.rotate()
        return real_read()

    destination.publish = publish  # type: ignore[method-assign]
    destination.read = read  # type: ignore[method-assign]
    seen = operation.look(bench.wiring.ports, bench.policy, next_after, bench.stop, recent=0.0)
    assert raced
    assert seen.outcome.exit_code == 0
    assert bench.attention == set()


@pytest.mark.parametrize("finder", FINDERS)
def test_a_lagging_time_of_the_idle_project_is_no_alarm(make_bench: MakeBench, finder: str) -> None:
    """After our own retirement some reads still show the earlier time, before the journal knew better and after."""
    bench = bench_of("standby", make_bench)
    rotation = begun(bench)
    assert rotation.state is State.DRAINING
    bench.simulator.faults.add("rotate", "read-lag", seconds=5400)
    assert ended(bench, rotation).state is State.COMPLETED
    for minutes in (1, 30, 30, 60):
        bench.clock.advance(minutes * 60)
        FINDERS[finder](bench)
        assert bench.attention == set()
    earlier = bench.wiring.provider.project(idle(bench))
    lagging = replace(earlier, token_generated_at="2026-11-01T00:00:00Z")
    real = bench.wiring.provider.project
    bench.wiring.provider.project = lambda one: lagging if one == lagging.id else real(one)  # type: ignore[method-assign]
    FINDERS[finder](bench)
    bench.wiring.provider.project = real  # type: ignore[method-assign]
    FINDERS[finder](bench)
    assert bench.attention == set()


def test_a_look_during_a_rotation_leaves_what_has_moved_to_the_next(make_bench: MakeBench) -> None:
    """While a rotation is open nothing is judged, so the moved time is not taken note of: when the rotation ends
    without having minted, the next look finds the dead token."""
    bench = rotated("in-place", make_bench)
    journal, policy = bench.wiring.journal, bench.policy
    (done,) = journal.rotations("billing")
    lease = journal.acquire(policy.projects, bench.wiring.holder, ttl=15)
    opened = replace(done, id="r-open", state=State.RUNNING, step="preflight", minted=False, finished_at=None)
    journal.save(lease, opened)
    bench.simulator.regenerate(bench.project)
    refresh(bench.wiring.ports, [policy])
    assert bench.attention == set()
    journal.save(lease, replace(opened, state=State.REFUSED, step=""))
    journal.release(lease)
    refresh(bench.wiring.ports, [policy])
    assert bench.attention == {"token-dead"}
