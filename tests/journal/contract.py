"""What every journal must do. An implementation's test module subclasses `JournalContract` and gives
the fixture `make_journal`: each call opens the same storage once more, as another process would.

Where time must pass, the tests ask the fixture `elapse`; a journal that keeps the database server's
time overrides it, and `GIVE` with it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from rotator.audit.base import ChainHead
from rotator.errors import Busy, LeaseLost
from rotator.journal.base import CLAIM_SECONDS, Hold, JournalMisconfigured
from rotator.journal.holder import this_process
from rotator.model import Claim, State
from tests.journal.builders import (
    PROJECT,
    STANDBY,
    T0,
    at,
    attention,
    facts,
    full_rotation,
    rotation,
    stranger,
    token,
)
from tests.journal.contract_of_spool import SpoolContract


def dead_process(clock):
    """A process of this host that has ended, and whose end was seen."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return replace(this_process(clock, "rotator serve"), id="dead", pid=child.pid)


class JournalContract(SpoolContract):
    """Each test gets an empty storage."""

    TTL = 15.0
    WINDOW = 60.0
    GIVE = 0.5
    """Seconds that may have passed by themselves, where time is a server's; else what is lost in rounding."""

    def about(self, expected, found):
        """Whether so many seconds are left, less what has passed by itself; it lengthens nothing."""
        return expected - self.GIVE <= found <= expected + 0.5

    @pytest.fixture
    def elapse(self, clock):
        return clock.advance

    @pytest.fixture
    def journal(self, make_journal):
        return make_journal()

    @pytest.fixture
    def me(self, clock):
        return this_process(clock, "rotator run")

    @pytest.fixture
    def lease(self, journal, me):
        return journal.acquire((PROJECT,), me, ttl=self.TTL)

    # the journal itself

    def test_only_its_maker_calls_it_created(self, make_journal):
        """The first opener made the journal; the second found it, under the same id."""
        first, second = make_journal(), make_journal()

        assert (first.created, second.created) == (True, False)
        assert first.id == second.id != ""

    def test_key_check_is_set_once(self, journal, make_journal):
        """The check value of the audit key stays what it was first, and the same value is welcome again."""
        assert journal.key_check() is None

        journal.set_key_check("a" * 32)
        journal.set_key_check("a" * 32)
        with pytest.raises(JournalMisconfigured, match="another audit key") as caught:
            journal.set_key_check("b" * 32)

        assert caught.value.exit_code == 2
        assert make_journal().key_check() == "a" * 32

    def test_audit_head_moves_forwards_only(self, journal, make_journal):
        """A later head replaces an earlier one; an earlier or rewritten one replaces nothing."""
        assert journal.audit_head() is None

        journal.set_audit_head(ChainHead(9, "m9"))
        journal.set_audit_head(ChainHead(10, "m10"))
        journal.set_audit_head(ChainHead(9, "m9"))
        journal.set_audit_head(ChainHead(10, "rewritten"))

        assert make_journal().audit_head() == ChainHead(10, "m10")

    # leases

    def test_a_lease_keeps_others_out_and_names_the_holder(self, journal, make_journal, lease):
        """A second process gets Busy, which says who is at work and for how long."""
        with pytest.raises(Busy, match=r"rotator run on .* ends in 1[0-9.]+ s") as caught:
            make_journal().acquire((PROJECT,), stranger(), ttl=self.TTL)

        assert not isinstance(caught.value, LeaseLost)
        assert (journal.lease_of(PROJECT).epoch, caught.value.exit_code) == (1, 5)

    def test_a_lease_keeps_out_the_holder_itself(self, journal, me, lease):
        """Two threads of one process do not share a lease."""
        with pytest.raises(Busy):
            journal.acquire((PROJECT,), me, ttl=self.TTL)

    def test_every_acquire_raises_the_epoch(self, journal, me):
        """The epoch rises each time, also after the lease was given back."""
        epochs = []
        for _ in range(3):
            lease = journal.acquire((PROJECT,), me, ttl=self.TTL)
            epochs.append(lease.epochs[PROJECT])
            journal.release(lease)

        assert epochs == [1, 2, 3]
        view = journal.lease_of(PROJECT)
        assert (view.epoch, view.holder, view.expires_in) == (3, None, 0.0)

    def test_an_emergency_takes_a_living_lease(self, journal, make_journal, lease):
        """With `preempt` the epoch rises over a living holder, who may write nothing from then on."""
        taken = make_journal().acquire((PROJECT,), stranger(), ttl=self.TTL, preempt=True)

        assert taken.epochs == {PROJECT: lease.epochs[PROJECT] + 1}
        for use in (journal.check, lambda one: journal.renew(one, ttl=self.TTL)):
            with pytest.raises(LeaseLost, match="took it"):
                use(lease)
        with pytest.raises(LeaseLost):
            journal.save(lease, rotation())
        journal.release(lease)
        journal.check(taken)

    def test_several_projects_are_leased_together_or_not_at_all(self, journal, me):
        """When one of a pair is taken, the other one is left alone, its epoch included."""
        low, high = sorted((PROJECT, STANDBY))
        other = journal.acquire((high,), stranger(), ttl=self.TTL)

        with pytest.raises(Busy, match=high):
            journal.acquire((high, low), me, ttl=self.TTL)
        assert journal.lease_of(low) is None

        journal.release(other)
        both = journal.acquire((high, low, high), me, ttl=self.TTL)
        assert both.epochs == {low: 1, high: 2}
        assert both.projects == (low, high)

    def test_a_lease_of_nothing_is_a_mistake(self, journal, me):
        """A lease without a project would guard nothing, so it is refused."""
        with pytest.raises(ValueError, match="no project"):
            journal.acquire((), me, ttl=self.TTL)

    def test_a_lease_lives_until_it_expires(self, journal, lease, elapse):
        """Just before its end a lease holds; at its end it is free for others."""
        elapse(self.TTL - self.GIVE)
        journal.check(lease)
        with pytest.raises(Busy):
            journal.acquire((PROJECT,), stranger(), ttl=self.TTL)

        elapse(self.GIVE)
        taken = journal.acquire((PROJECT,), stranger(), ttl=self.TTL)

        assert taken.epochs == {PROJECT: 2}
        assert 0 < journal.lease_of(PROJECT).expires_in <= self.TTL

    def test_a_heartbeat_lengthens_a_lease(self, journal, lease, elapse):
        """Renewed in time, a lease outlives its first end."""
        elapse(self.TTL - self.GIVE)
        journal.renew(lease, ttl=self.TTL)
        elapse(self.TTL - self.GIVE)

        journal.check(lease)
        assert 0 < journal.lease_of(PROJECT).expires_in <= self.GIVE

    def test_an_expired_lease_is_lost_even_if_nobody_took_it(self, journal, lease, elapse):
        """A process that was paused past its lease finds out, and cannot revive it by a heartbeat."""
        elapse(self.TTL)

        with pytest.raises(LeaseLost, match="without a heartbeat"):
            journal.check(lease)
        with pytest.raises(LeaseLost, match="without a heartbeat"):
            journal.renew(lease, ttl=self.TTL)
        assert journal.lease_of(PROJECT).expires_in <= 0

    def test_what_happened_can_be_recorded_under_an_expired_lease_nobody_took(self, journal, lease, elapse):
        """As long as the epoch is the present one nobody else acted, so the outcome is kept."""
        elapse(self.TTL * 2)

        journal.save(lease, rotation())

        assert journal.rotation("r-1") == rotation()

    def test_whoever_lost_the_lease_writes_nothing(self, journal, lease, elapse):
        """Every write that carries a lease fails once somebody else raised the epoch, and changes nothing."""
        journal.save(lease, rotation())
        elapse(self.TTL)
        journal.acquire((PROJECT,), stranger(), ttl=self.TTL)
        writes = (
            lambda: journal.save(lease, rotation(state=State.COMPLETED, step="")),
            lambda: journal.remember_token(lease, token()),
            lambda: journal.raise_attention(attention(), lease),
            lambda: journal.clear_attention("billing-production", lease=lease),
            lambda: journal.check(lease),
            lambda: journal.renew(lease, ttl=self.TTL),
        )

        for write in writes:
            with pytest.raises(LeaseLost, match="rotator run on elsewhere took it"):
                write()

        assert journal.rotation("r-1").state is State.RUNNING
        assert journal.known_token(token().fingerprint) is None
        assert journal.attentions() == []

    def test_a_lease_of_two_projects_is_lost_with_either(self, journal, me, elapse):
        """Losing one project of a pair stops the writes for both."""
        both = journal.acquire((PROJECT, STANDBY), me, ttl=self.TTL)
        elapse(self.TTL)
        journal.acquire((STANDBY,), stranger(), ttl=self.TTL)

        with pytest.raises(LeaseLost, match=STANDBY):
            journal.save(both, rotation())

    def test_a_lease_given_back_guards_no_write(self, journal, lease):
        """After release the same lease object is worth nothing."""
        journal.release(lease)

        with pytest.raises(LeaseLost, match="given back"):
            journal.save(lease, rotation())
        with pytest.raises(LeaseLost, match="given back"):
            journal.renew(lease, ttl=self.TTL)

    def test_a_lease_is_its_holders_only(self, journal, lease):
        """The right epoch under another name, as after a backup was put back, is no lease."""
        with pytest.raises(LeaseLost, match=r"rotator run on .* took it"):
            journal.save(replace(lease, holder=stranger()), rotation())

    def test_releasing_a_lost_lease_is_harmless(self, journal, lease, elapse):
        """Giving back what somebody else has taken leaves it with them."""
        elapse(self.TTL)
        theirs = journal.acquire((PROJECT,), stranger(), ttl=self.TTL)

        journal.release(lease)

        journal.check(theirs)

    def test_the_lease_of_a_dead_process_is_free_at_once(self, journal, me, clock):
        """Nobody waits for a process of this host that is gone."""
        journal.acquire((PROJECT,), dead_process(clock), ttl=self.TTL)
        assert journal.lease_of(PROJECT).expires_in <= 0

        assert journal.acquire((PROJECT,), me, ttl=self.TTL).epochs == {PROJECT: 2}

    def test_a_reused_pid_is_not_taken_for_the_holder(self, journal, me):
        """A living process with the holder's pid but another start time is not the holder."""
        former = replace(me, id="former", pid_started=str(int(me.pid_started) - 1))
        journal.acquire((PROJECT,), former, ttl=self.TTL)

        assert journal.acquire((PROJECT,), me, ttl=self.TTL).epochs == {PROJECT: 2}

    def test_a_pid_of_another_container_is_not_judged(self, journal, me, clock):
        """A pid of another pid namespace may be alive there, so its lease has to run out."""
        elsewhere = replace(dead_process(clock), pid_namespace="pid:[1]")
        journal.acquire((PROJECT,), elsewhere, ttl=self.TTL)

        with pytest.raises(Busy):
            journal.acquire((PROJECT,), me, ttl=self.TTL)

    def test_a_jump_of_the_wall_clock_moves_no_lease(self, journal, lease, clock):
        """An hour forwards frees nothing, an hour backwards lengthens nothing."""
        before = journal.lease_of(PROJECT).expires_in

        for jump in (3600, -7200):
            clock.jump_wall(jump)
            journal.check(lease)
            with pytest.raises(Busy):
                journal.acquire((PROJECT,), stranger(), ttl=self.TTL)
            assert self.about(before, journal.lease_of(PROJECT).expires_in)

    def test_one_of_many_wins_a_lease(self, make_journal, clock):
        """Of eight threads with a journal each, exactly one gets the lease."""
        journals = [make_journal() for _ in range(8)]
        gate, results = threading.Barrier(8), []

        def compete(number):
            gate.wait()
            try:
                journals[number].acquire((PROJECT,), this_process(clock, f"rotator {number}"), ttl=self.TTL)
                results.append("won")
            except Busy:
                results.append("busy")

        threads = [threading.Thread(target=compete, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(results) == ["busy"] * 7 + ["won"]
        assert journals[0].lease_of(PROJECT).epoch == 1

    # rotations

    def test_a_rotation_comes_back_whole(self, journal, lease, make_journal):
        """Every field of a rotation is what it was, for another process too."""
        journal.save(lease, full_rotation())

        assert make_journal().rotation("r-full") == full_rotation()
        assert journal.rotation("r-other") is None

    def test_saving_again_replaces_the_record(self, journal, lease):
        """There is one record per rotation: the latest."""
        journal.save(lease, rotation())
        journal.save(lease, rotation(state=State.COMPLETED, step="", finished_at=at(5)))

        (only,) = journal.rotations()
        assert (only.state, only.step, only.finished_at) == (State.COMPLETED, "", at(5))

    def test_a_rotation_is_saved_under_the_lease_of_its_project(self, journal, lease):
        """A lease of another project fences nothing, so saving under it is a mistake."""
        with pytest.raises(ValueError, match=STANDBY):
            journal.save(lease, rotation(project=STANDBY))

    def test_rotations_come_newest_first(self, journal, lease):
        """Sorted by start; of two that started together the one saved first counts as older."""
        for name, start in (("b", 10), ("c", 10), ("d", 20), ("a", 0)):
            journal.save(lease, rotation(name, started_at=at(start)))
        journal.save(lease, rotation("b", started_at=at(10), message="saved again"))

        assert [r.id for r in journal.rotations()] == ["d", "c", "b", "a"]
        assert [r.id for r in journal.rotations(limit=2)] == ["d", "c"]
        assert journal.rotations(limit=0) == []

    def test_rotations_of_one_policy(self, journal, lease):
        """History can be asked for one policy."""
        journal.save(lease, rotation("a"))
        journal.save(lease, rotation("b", policy="other"))

        assert [r.id for r in journal.rotations("other")] == ["b"]
        assert journal.rotations("nobody") == []

    def test_unfinished_rotations_come_oldest_first(self, journal, me):
        """What has a step left is unfinished, whatever its state, and can be asked for one project."""
        lease = journal.acquire((PROJECT, STANDBY), me, ttl=self.TTL)
        journal.save(lease, rotation("late", started_at=at(20)))
        journal.save(lease, rotation("early", started_at=at(10), state=State.NEEDS_ATTENTION))
        journal.save(lease, rotation("done", step="", state=State.NEEDS_ATTENTION))
        journal.save(lease, rotation("other", project=STANDBY, step="drain", state=State.DRAINING))

        assert [r.id for r in journal.unfinished()] == ["other", "early", "late"]
        assert [r.id for r in journal.unfinished(PROJECT)] == ["early", "late"]
        assert journal.unfinished("nobody") == []

    # tokens

    def test_a_token_is_known_by_its_fingerprint(self, journal, lease):
        """A remembered fingerprint tells project, policy, rotation, origin and first sight."""
        journal.remember_token(lease, token())

        assert journal.known_token(token().fingerprint) == token()
        assert journal.known_token("fp_" + "b" * 20) is None

    def test_only_the_death_of_a_known_token_is_updated(self, journal, lease):
        """Meeting a token again changes nothing but when it died, and a dead one stays dead."""
        journal.remember_token(lease, token())
        journal.remember_token(
            lease, token(rotation="r-2", origin="adopted", first_seen=at(9), dead_since=at(8))
        )
        journal.remember_token(lease, token())

        assert journal.known_token(token().fingerprint) == token(dead_since=at(8))

    # attention and holds

    def test_attention_keeps_since_and_changes_the_words(self, journal):
        """A second entry of one code is the first one with the newer words."""
        journal.raise_attention(attention())
        journal.raise_attention(attention(since=at(60), message="Still unclear.", rotation="r-2"))

        assert journal.attentions() == [attention(message="Still unclear.", rotation="r-2")]

    def test_attention_is_listed_oldest_first_and_by_policy(self, journal, lease):
        """Entries are sorted by age; a policy's own can be asked for."""
        journal.raise_attention(attention("audit", since=at(5)))
        journal.raise_attention(attention("token-dead", "other", since=at(1)), lease)

        assert [a.code for a in journal.attentions()] == ["token-dead", "audit"]
        assert [a.code for a in journal.attentions("other")] == ["token-dead"]

    def test_attention_is_cleared_by_code_or_altogether(self, journal, lease):
        """Only the codes named go; without codes all of the policy's go, and no other policy's."""
        for code in ("audit", "unclear", "orphan"):
            journal.raise_attention(attention(code))
        journal.raise_attention(attention("audit", "other"))

        journal.clear_attention("billing-production", ())
        assert len(journal.attentions("billing-production")) == 3
        journal.clear_attention("billing-production", ("audit", "token-dead"), lease)
        assert {a.code for a in journal.attentions("billing-production")} == {"unclear", "orphan"}
        journal.clear_attention("billing-production")
        assert [a.policy for a in journal.attentions()] == ["other"]

    def test_a_policy_is_held_and_released(self, journal, make_journal):
        """A hold is seen by everybody until it is released; releasing twice says so."""
        hold = Hold("billing-production", T0, "ana", "incident 12")
        journal.hold(hold)
        assert make_journal().holds() == {"billing-production": hold}

        assert journal.release_hold("billing-production")
        assert not journal.release_hold("billing-production")
        assert journal.holds() == {}

    # the shared limiter

    def test_slots_of_a_window_are_limited(self, journal, make_journal, elapse):
        """Three slots in a window, whoever takes them; the fourth waits for the oldest to leave it."""
        other = make_journal()
        for taker in (journal, other, journal):
            assert taker.take_slot("rotate", limit=3, window=self.WINDOW) == 0.0
            elapse(10)

        wait = other.take_slot("rotate", limit=3, window=self.WINDOW)

        assert self.about(self.WINDOW - 30, wait)
        elapse(wait - self.GIVE)
        assert 0 < journal.take_slot("rotate", limit=3, window=self.WINDOW) <= self.GIVE
        elapse(self.GIVE)
        assert journal.take_slot("rotate", limit=3, window=self.WINDOW) == 0.0
        assert self.about(10, journal.take_slot("rotate", limit=3, window=self.WINDOW))

    def test_looking_at_slots_takes_none(self, journal):
        """With `take` false any number may look."""
        for _ in range(5):
            assert journal.take_slot("rotate", limit=1, window=self.WINDOW, take=False) == 0.0

        assert journal.take_slot("rotate", limit=1, window=self.WINDOW) == 0.0
        assert journal.take_slot("rotate", limit=1, window=self.WINDOW, take=False) > 0

    def test_the_more_urgent_gets_the_next_slot(self, journal, make_journal, elapse):
        """While somebody more urgent waits, others leave the slot that becomes free; equals do not."""
        dead, scheduled, other = Claim(0, "dead"), Claim(2, "scheduled"), make_journal()
        assert journal.take_slot("rotate", limit=1, window=self.WINDOW) == 0.0
        elapse(self.WINDOW - self.GIVE)
        assert journal.take_slot("rotate", limit=1, window=self.WINDOW, claim=dead) > 0
        elapse(self.GIVE)

        assert other.take_slot("rotate", limit=1, window=self.WINDOW, claim=scheduled) > 0
        assert other.take_slot("rotate", limit=1, window=self.WINDOW) > 0
        assert journal.take_slot("rotate", limit=1, window=self.WINDOW, claim=dead) == 0.0

    def test_a_claim_keeps_one_slot_of_several(self, journal):
        """Two slots, one of them claimed by looking: a less urgent one gets the other, and no more."""
        assert (
            journal.take_slot("rotate", limit=2, window=self.WINDOW, take=False, claim=Claim(1, "a")) == 0.0
        )

        assert journal.take_slot("rotate", limit=2, window=self.WINDOW, claim=Claim(2, "b")) == 0.0
        assert journal.take_slot("rotate", limit=2, window=self.WINDOW, claim=Claim(2, "c")) > 0
        assert journal.take_slot("rotate", limit=2, window=self.WINDOW, claim=Claim(1, "a")) == 0.0

    def test_a_claim_goes_with_its_slot_or_with_time(self, journal, elapse):
        """One that got its slot, or has not asked again for a while, stands in nobody's way."""
        urgent = Claim(1, "urgent")
        assert journal.take_slot("rotate", limit=2, window=self.WINDOW, claim=urgent) == 0.0
        assert journal.take_slot("rotate", limit=2, window=self.WINDOW, claim=Claim(2, "b")) == 0.0
        elapse(self.WINDOW)
        journal.take_slot("rotate", limit=1, window=self.WINDOW, take=False, claim=urgent)
        assert journal.take_slot("rotate", limit=1, window=self.WINDOW, claim=Claim(2, "c")) > 0

        elapse(CLAIM_SECONDS)

        assert journal.take_slot("rotate", limit=1, window=self.WINDOW, claim=Claim(2, "c")) == 0.0

    def test_a_slot_counts_from_when_its_call_is_sent(self, journal, make_journal, elapse):
        """Taken, then dated anew seconds later: the next one waits a whole window from there, whoever asks. The
        slots of others keep their dates."""
        mine, other = Claim(2, "mine"), make_journal()
        assert journal.take_slot("rotate", limit=2, window=self.WINDOW, claim=mine) == 0.0
        assert journal.take_slot("rotate", limit=2, window=self.WINDOW, claim=Claim(2, "theirs")) == 0.0
        elapse(10)

        journal.date_slot("rotate", mine)

        wait = other.take_slot("rotate", limit=2, window=self.WINDOW)
        assert self.about(self.WINDOW - 10, wait)
        elapse(wait)
        assert other.take_slot("rotate", limit=2, window=self.WINDOW) == 0.0
        assert self.about(10, other.take_slot("rotate", limit=2, window=self.WINDOW))

    def test_dating_a_slot_that_is_gone_changes_nothing(self, journal, elapse):
        """One that has left the window, or was never taken, comes not to life."""
        journal.date_slot("rotate", Claim(2, "nobody"))

        assert journal.take_slot("rotate", limit=1, window=self.WINDOW) == 0.0

    def test_kinds_of_slots_are_apart(self, journal):
        """A full kind leaves the others alone."""
        journal.take_slot("rotate", limit=1, window=self.WINDOW)
        journal.postpone_slots("rotate", 5)

        assert journal.take_slot("write", limit=1, window=self.WINDOW) == 0.0

    def test_a_lowered_limit_counts_what_was_taken(self, journal, elapse):
        """With a smaller limit than before, as many old slots must leave the window as are too many."""
        for _ in range(3):
            journal.take_slot("rotate", limit=3, window=self.WINDOW)
            elapse(10)

        wait = journal.take_slot("rotate", limit=1, window=self.WINDOW)

        assert self.about(self.WINDOW - 10, wait)

    def test_a_limit_of_nothing_is_a_mistake(self, journal):
        """A limit that never gives a slot would wait for ever, so it is refused."""
        with pytest.raises(ValueError, match="never give"):
            journal.take_slot("rotate", limit=0, window=self.WINDOW)

    def test_slots_are_postponed_for_everybody(self, journal, make_journal, elapse):
        """After the provider said to wait, nobody takes a slot until then; a shorter word shortens nothing."""
        journal.postpone_slots("rotate", 20)
        journal.postpone_slots("rotate", 5)
        other = make_journal()

        assert self.about(20, other.take_slot("rotate", limit=3, window=self.WINDOW))
        elapse(20 - self.GIVE)
        assert 0 < other.take_slot("rotate", limit=3, window=self.WINDOW) <= self.GIVE
        elapse(self.GIVE)
        assert other.take_slot("rotate", limit=3, window=self.WINDOW) == 0.0

    @pytest.mark.parametrize("jump", [3600, -3600])
    def test_a_jump_of_the_wall_clock_neither_frees_nor_blocks_slots(self, journal, clock, elapse, jump):
        """Slots and pauses age by elapsed time, whatever the wall clock is set to."""
        journal.take_slot("rotate", limit=1, window=self.WINDOW)
        journal.postpone_slots("write", self.WINDOW)
        clock.jump_wall(jump)

        for kind in ("rotate", "write"):
            wait = journal.take_slot(kind, limit=1, window=self.WINDOW)
            assert self.about(self.WINDOW, wait)
        elapse(self.WINDOW)
        for kind in ("rotate", "write"):
            assert journal.take_slot(kind, limit=1, window=self.WINDOW) == 0.0

    # projects

    def test_the_side_found_active_is_kept_with_its_time(self, journal, make_journal):
        """Of each policy the last note stands, and another process reads it."""
        assert journal.noted_active("billing") is None
        journal.note_active("billing", PROJECT, at(0))
        journal.note_active("checkout", PROJECT, at(1))
        journal.note_active("billing", "another", at(2))
        assert make_journal().noted_active("billing") == ("another", at(2))
        assert journal.noted_active("checkout") == (PROJECT, at(1))

    def test_project_facts_are_written_when_something_changed(self, journal, make_journal):
        """Facts seen again unchanged keep the time of the first sight; changed ones replace it."""
        assert journal.project_facts(PROJECT) is None

        journal.remember_project(facts(), at(0))
        journal.remember_project(facts(), at(60))
        assert journal.project_facts(PROJECT) == (facts(), at(0))

        used = facts(token_last_used_at="2026-11-21T12:00:00Z")
        journal.remember_project(used, at(90))
        assert make_journal().project_facts(PROJECT) == (used, at(90))

    def test_threads_share_one_journal(self, journal, me):
        """Many threads write through one journal and nothing is lost."""
        lease = journal.acquire((PROJECT,), me, ttl=self.TTL)

        def write(number):
            for n in range(10):
                journal.save(lease, rotation(f"{number}-{n}"))

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(journal.rotations()) == 40
