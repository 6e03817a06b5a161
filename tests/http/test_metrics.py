"""What a scrape gives, read with the library's own parser."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rotator.errors import JournalUnavailable
from rotator.model import Attention, Bounds, State, Trigger
from rotator.views import RehearsalStatus
from tests.http.conftest import T0, ended, policy

LABELS = {
    "rotator_rotations_total": {"policy", "strategy", "outcome"},
    "rotator_rotation_seconds_bucket": {"le"},
    "rotator_outage_seconds_bucket": {"le"},
    "rotator_token_generated_timestamp_seconds": {"policy"},
    "rotator_next_due_timestamp_seconds": {"policy"},
    "rotator_last_success_timestamp_seconds": {"policy"},
    "rotator_needs_attention": {"policy"},
    "rotator_attention": {"policy", "code"},
    "rotator_provider_requests_total": {"call", "status"},
    "rotator_audit_failures_total": set(),
    "rotator_build_info": {"version", "python"},
    "rotator_provider_request_seconds_bucket": {"call", "le"},
    "rotator_policies_reload_failed": set(),
    "rotator_policy_state": {"policy", "state"},
    "rotator_status_readable": set(),
    "rotator_unfinished_rotation_started_timestamp_seconds": {"policy"},
}


def scraped(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return list(text_string_to_metric_families(answer.text))


def samples(client):
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in scraped(client)
        for one in family.samples
    }


def values(client, name):
    return {labels: value for (found, labels), value in samples(client).items() if found == name}


@pytest.fixture
def busy(board, metrics):
    """Something in every metric."""
    attention = Attention("billing-production", "token-dead", T0, "dead", "`rotator status`")
    board.policies = [policy(attention=(attention,), rotation=ended("r-9"))]
    board.past = [ended()]
    metrics.rotation_ended(ended(outage=Bounds(0.2, 0.4)))
    metrics.provider_called("ping", "200", 0.02)
    metrics.audit_failed()


@pytest.mark.usefixtures("busy")
def test_every_metric_has_its_name_and_labels(client):
    """The interface, to the letter."""
    found = {}
    for family in scraped(client):
        for one in family.samples:
            found.setdefault(one.name, set(one.labels))
    assert {name: found.get(name) for name in LABELS} == LABELS


@pytest.mark.usefixtures("busy")
def test_metrics_are_named_as_prometheus_asks(client):
    """Help and type for each, base units, `_total` on counters and nowhere else, nothing twice."""
    families = [one for one in scraped(client) if one.name.startswith("rotator_")]
    names = [one.name for one in families]
    assert len(names) == len(set(names))
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), family.name
        # One duration is a gauge: a rehearsal is months apart from the next, and only the last one tells anything.
        measured = family.type == "histogram" or family.name == "rotator_rehearsal_seconds"
        assert ("_seconds" in family.name) == (measured or "timestamp" in family.name)
        for one in family.samples:
            # What a counter was created at is not part of this text format.
            assert not one.name.endswith("_created")


def test_rotations_are_counted_by_outcome(client, metrics):
    """From zero on, so that the first failure is seen as an increase."""
    before = values(client, "rotator_rotations_total")
    assert set(before.values()) == {0.0}
    assert {dict(labels)["outcome"] for labels in before} == {
        "completed",
        "failed",
        "refused",
        "needs-attention",
    }
    metrics.rotation_ended(ended(state=State.FAILED))
    metrics.rotation_ended(ended(trigger=Trigger.REHEARSAL))
    found = {dict(labels)["outcome"]: n for labels, n in values(client, "rotator_rotations_total").items()}
    assert (found["failed"], found["completed"]) == (1.0, 0.0)


def test_outage_is_told_at_its_upper_bound(client, metrics):
    """A promise that was missed by the bound counts as missed."""
    metrics.rotation_ended(ended(outage=Bounds(0.2, 0.4)))
    found = samples(client)
    assert found["rotator_outage_seconds_sum", ()] == 0.4
    assert found["rotator_outage_seconds_bucket", (("le", "0.25"),)] == 0.0
    assert found["rotator_outage_seconds_bucket", (("le", "0.5"),)] == 1.0
    assert found["rotator_rotation_seconds_sum", ()] == 9.0


def test_provider_calls_are_counted(client, metrics):
    """By call and status, an answer or none."""
    for status in ("200", "200", "no-answer"):
        metrics.provider_called("rotate-token", status, 0.3)
    found = values(client, "rotator_provider_requests_total")
    assert found[("call", "rotate-token"), ("status", "200")] == 2
    assert found[("call", "rotate-token"), ("status", "no-answer")] == 1


def test_reload_that_failed_is_seen_until_one_works(client, metrics):
    """0, 1, 0."""
    found = []
    for ok in (True, False, True):
        metrics.policies_loaded(ok)
        found.append(samples(client)["rotator_policies_reload_failed", ()])
    assert found == [0.0, 1.0, 0.0]


def test_gauges_follow_the_board(client, board):
    """They vanish with their policy, and a date that is not known is absent instead of zero."""
    board.policies = [policy("a"), policy("b", next_due_at=None, token_generated_at=None, state="unknown")]
    found = samples(client)
    due, made = "rotator_next_due_timestamp_seconds", "rotator_token_generated_timestamp_seconds"
    assert found[due, (("policy", "a"),)] == (T0 + timedelta(days=27)).timestamp()
    assert found[made, (("policy", "a"),)] == (T0 - timedelta(days=3)).timestamp()
    assert (due, (("policy", "b"),)) not in found
    assert (made, (("policy", "b"),)) not in found
    assert found["rotator_policy_state", (("policy", "b"), ("state", "unknown"))] == 1
    assert found["rotator_needs_attention", (("policy", "b"),)] == 0
    board.policies = [policy("a")]
    left = values(client, "rotator_needs_attention")
    assert list(left) == [(("policy", "a"),)]


def test_last_success_comes_from_the_journal(client, board):
    """So a restart does not lose it; failures and rehearsals do not move it; the journal is not asked in vain."""
    name = "rotator_last_success_timestamp_seconds"
    assert values(client, name) == {}
    board.past = [
        ended("r-4", trigger=Trigger.REHEARSAL, finished_at=T0 + timedelta(hours=3)),
        ended("r-3", state=State.FAILED, finished_at=T0 + timedelta(hours=2)),
        ended("r-2", finished_at=T0 + timedelta(hours=1)),
        ended("r-1"),
    ]
    board.policies = [policy(last_outcome="failed")]
    assert list(values(client, name).values()) == [(T0 + timedelta(hours=1)).timestamp()]
    asked = len(board.asked)
    values(client, name)
    assert len(board.asked) == asked
    # Twenty failures later the journal's last page has no success, and it is still known.
    board.past = [ended(f"f-{n}", state=State.FAILED) for n in range(20)]
    board.policies = [policy(last_outcome="needs-attention")]
    assert list(values(client, name).values()) == [(T0 + timedelta(hours=1)).timestamp()]


def test_journal_that_is_away_shows_as_such(client, board, metrics):
    """What was counted is still told; gauges are absent, not stale."""
    metrics.audit_failed()
    values(client, "rotator_needs_attention")
    board.error = JournalUnavailable("The journal is away")
    found = samples(client)
    assert found["rotator_status_readable", ()] == 0
    assert found["rotator_audit_failures_total", ()] == 1
    assert not [name for name, _ in found if name == "rotator_needs_attention"]


@pytest.mark.parametrize("count", [0, 1, 500])
def test_any_number_of_policies(client, board, count):
    """None, one, many."""
    board.policies = [policy(f"p-{n}") for n in range(count)]
    assert len(values(client, "rotator_needs_attention")) == count


AGE = "rotator_rehearsal_last_success_timestamp_seconds"


def rehearsal(**changes):
    never = RehearsalStatus(
        last_success_at=None,
        age_seconds=None,
        seconds=None,
        last_outcome=None,
        next_due_at=None,
        overdue=False,
        reason="never rehearsed with success",
    )
    return replace(never, **changes)


def test_a_rehearsal_that_never_succeeded_is_as_old_as_can_be(client, board):
    """An alert on the age fires for it; where there is nothing to rehearse on, there is nothing to tell."""
    board.policies = [
        policy("a", rehearsal=rehearsal()),
        policy("b", rehearsal=rehearsal(last_success_at=T0, seconds=4.25, age_seconds=0.0)),
        policy("c"),
    ]
    assert values(client, AGE) == {(("policy", "a"),): 0.0, (("policy", "b"),): T0.timestamp()}
    assert values(client, "rotator_rehearsal_seconds") == {(("policy", "b"),): 4.25}
    attention = Attention("a/rehearsal", "unclear", T0, "it is unclear", "look")
    board.policies = [policy("a", rehearsal=rehearsal(attention=(attention,)))]
    assert values(client, "rotator_rehearsal_needs_attention") == {(("policy", "a"),): 1.0}
    assert values(client, "rotator_needs_attention") == {(("policy", "a"),): 0.0}


def test_rehearsals_are_counted_by_outcome(client, board, metrics):
    """From zero on, for policies that have one, and apart from rotations."""
    board.policies = [policy("a", rehearsal=rehearsal()), policy("b")]
    before = values(client, "rotator_rehearsals_total")
    assert {dict(labels)["policy"] for labels in before} == {"a"}
    assert set(before.values()) == {0.0}
    metrics.rehearsed("a", "needs-attention")
    found = values(client, "rotator_rehearsals_total")
    assert {dict(labels)["outcome"] for labels, number in found.items() if number} == {"needs-attention"}
    assert set(values(client, "rotator_rotations_total").values()) == {0.0}


def test_many_rehearsals_do_not_hide_the_last_rotation(client, board):
    """They stand beside a policy's rotations wherever people look, and are not asked for here."""
    board.past = [
        *(
            ended(f"r-{n}", policy="billing/rehearsal", trigger=Trigger.REHEARSAL, finished_at=T0)
            for n in range(40)
        ),
        ended("r-0", finished_at=T0 - timedelta(hours=1)),
    ]
    board.policies = [policy(rehearsal=rehearsal())]
    (found,) = values(client, "rotator_last_success_timestamp_seconds").values()
    assert found == (T0 - timedelta(hours=1)).timestamp()
