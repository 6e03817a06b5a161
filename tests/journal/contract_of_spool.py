"""What the spool of every journal must do. A part of `JournalContract`; see there."""

from __future__ import annotations

from datetime import timedelta

from rotator.journal.base import SpoolEntry, SpoolState
from tests.journal.builders import T0

SLACK, PAGER = "slack:1111", "pagerduty:2222"


def entry(notice="n-1", notifier=SLACK, policy="billing"):
    return SpoolEntry(notifier, notice, policy, '{"title":"ü \\u0000"}')


class SpoolContract:
    """Each test gets an empty storage."""

    def test_a_notifier_is_known_since_it_was_first_met(self, journal, make_journal):
        """The first to meet it says since when; nobody moves that."""
        assert journal.spool.known_since(SLACK, T0) == T0
        assert make_journal().spool.known_since(SLACK, T0 + timedelta(days=1)) == T0
        assert journal.spool.known_since(PAGER, T0 + timedelta(days=2)) == T0 + timedelta(days=2)

    def test_a_notice_is_put_once(self, journal, make_journal):
        """Whoever puts it again changes nothing, whatever became of it since; another notifier gets its own."""
        assert journal.spool.put([entry(), entry("n-2")]) == 2
        claimed = journal.spool.claim((SLACK,), 60)
        journal.spool.settle(claimed, SpoolState.OVER)
        assert make_journal().spool.put([entry(), entry(notifier=PAGER)]) == 1
        assert [one.notice for one in journal.spool.entries(SpoolState.WAITING)] == ["n-2", "n-1"]
        assert journal.spool.known(SLACK, ("n-1", "n-2", "n-3")) == {"n-1", "n-2"}
        assert journal.spool.known(PAGER, ("n-2",)) == set()
        assert journal.spool.known(PAGER, ()) == set()
        assert journal.spool.put([]) == 0

    def test_a_claim_keeps_others_off(self, journal, make_journal, elapse):
        """The oldest first, each to one process only; when the claim has run out the next one gets it, to the letter."""
        journal.spool.put([entry("n-1"), entry("n-2"), entry("n-3", PAGER)])
        other = make_journal()
        assert journal.spool.claim((SLACK,), 60) == entry("n-1")
        assert other.spool.claim((SLACK,), 60) == entry("n-2")
        assert journal.spool.claim((SLACK,), 60) is None
        assert other.spool.claim((SLACK, PAGER), 60).notice == "n-3"
        assert journal.spool.claim((), 60) is None
        elapse(60 - self.GIVE)
        assert other.spool.claim((SLACK,), 60) is None
        elapse(2 * self.GIVE)
        again = other.spool.claim((SLACK,), 60)
        assert (again.notice, again.tries, again.document) == ("n-1", 1, entry().document)

    def test_what_failed_waits(self, journal, elapse):
        """A failed try is remembered with its reason, and not repeated before its time."""
        journal.spool.put([entry()])
        claimed = journal.spool.claim((SLACK,), 60)
        journal.spool.settle(claimed, SpoolState.WAITING, error="slack answered 503", again_in=30)
        (waiting,) = journal.spool.entries(SpoolState.WAITING, policy="billing")
        assert (waiting.tries, waiting.error) == (1, "slack answered 503")
        assert journal.spool.entries(SpoolState.WAITING, policy="other") == []
        elapse(30 - self.GIVE)
        assert journal.spool.claim((SLACK,), 60) is None
        elapse(2 * self.GIVE)
        assert journal.spool.claim((SLACK,), 60).tries == 1

    def test_only_what_waits_is_claimed(self, journal, elapse):
        """What was sent, is over or was given up stays where it is."""
        states = (SpoolState.SENT, SpoolState.OVER, SpoolState.GIVEN_UP)
        journal.spool.put([entry(f"n-{state}") for state in states])
        for state in states:
            journal.spool.settle(journal.spool.claim((SLACK,), 1), state)
        elapse(1000)
        assert journal.spool.claim((SLACK,), 60) is None
        assert [one.notice for one in journal.spool.entries(*states)] == [f"n-{state}" for state in states]
