"""The rate limits as part of the plan."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from rotator.errors import JournalUnavailable
from rotator.journal.sqlite import SqliteJournal
from rotator.model import REHEARSAL_RANK, Claim
from rotator.provider.limits import RateLimits
from tests.conftest import FakeClock


class SharedJournal:
    """The part of a journal that counts slots, with a switch to break it."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.taken: list[tuple[str, float]] = []
        self.postponed: list[tuple[str, float]] = []
        self.dated: list[tuple[str, str]] = []
        self.broken = False

    def take_slot(self, kind: str, *, limit: int, window: float, take: bool = True, claim=None) -> float:
        self._check()
        now = self._clock.boot()
        recent = [at for one, at in self.taken if one == kind and at + window > now]
        if len(recent) >= limit:
            return recent[0] + window - now
        if take:
            self.taken.append((kind, now))
        return 0.0

    def date_slot(self, kind: str, claim) -> None:
        self._check()
        self.dated.append((kind, claim.by))

    def postpone_slots(self, kind: str, seconds: float) -> None:
        self._check()
        self.postponed.append((kind, seconds))

    def _check(self) -> None:
        if self.broken:
            raise JournalUnavailable("The journal is away")


@pytest.fixture
def journal(clock):
    return SharedJournal(clock)


@pytest.fixture
def limits(journal, clock):
    return RateLimits(journal, clock, read_limit=3, write_limit=2)


def observe(limits, kind, remaining=None, resets_in=None, retry_after=None):
    limits.observe(kind, remaining=remaining, resets_in=resets_in, retry_after=retry_after)


# --- in this process ----------------------------------------------------------------------------


def test_window_slides(limits, clock):
    """The slot after the last is free again exactly when the first is 60 s old, and not before."""
    assert limits.take("read") == 0
    clock.advance(10)
    assert [limits.take("read"), limits.take("read")] == [0, 0]
    assert limits.take("read") == 50
    clock.advance(49.5)
    assert limits.take("read") == 0.5
    clock.advance(0.5)
    assert limits.take("read") == 0
    assert limits.take("read") == 10


def test_kinds_are_apart(limits):
    """Reads and writes have limits of their own."""
    assert [limits.take("write"), limits.take("write")] == [0, 0]
    assert limits.take("write") == 60
    assert limits.take("read") == 0


def test_documented_limits(journal, clock):
    """Without other settings: 300 reads and 60 writes a minute, 3 rotations."""
    limits = RateLimits(journal, clock)
    for kind, limit in (("read", 300), ("write", 60), ("rotate", 3)):
        assert [limits.take(kind) for _ in range(limit)] == [0] * limit
        assert limits.take(kind) == 60


@pytest.mark.parametrize("kind", ["read", "write", "rotate"])
def test_peek_takes_nothing(limits, kind, journal):
    """Looking takes no slot, and says the same as taking."""
    for _ in range(10):
        assert limits.peek(kind) == 0
    while limits.take(kind) == 0:
        pass
    assert limits.peek(kind) == limits.take(kind) == 60


def test_retry_after_closes(limits, clock):
    """`Retry-After` closes a kind for so long; a shorter one that follows does not open it."""
    observe(limits, "read", retry_after=20)
    observe(limits, "read", retry_after=5)
    assert limits.take("read") == 20
    assert limits.take("write") == 0
    clock.advance(20)
    assert limits.take("read") == 0


def test_provider_knows_of_fewer(limits, clock):
    """What the provider says is left, for all its clients, is not exceeded until its window ends."""
    observe(limits, "read", remaining=1, resets_in=30)
    assert limits.take("read") == 0
    assert limits.take("read") == 30
    clock.advance(30)
    assert limits.take("read") == 0


def test_provider_knows_of_more(limits):
    """More room than we count is not used: our own count may be of what the provider has not seen."""
    for _ in range(3):
        limits.take("read")
    observe(limits, "read", remaining=250, resets_in=30)
    assert limits.take("read") == 60


def test_answers_that_overtake(limits):
    """Within one window of the provider's the count only falls, in whichever order answers arrive."""
    observe(limits, "read", remaining=0, resets_in=30)
    observe(limits, "read", remaining=2, resets_in=29)
    assert limits.take("read") == 30


def test_next_window(limits, clock):
    """A later window of the provider's replaces the former, and an older one does not."""
    observe(limits, "read", remaining=0, resets_in=10)
    observe(limits, "read", remaining=1, resets_in=55)
    assert limits.take("read") == 0
    assert limits.take("read") == 55
    observe(limits, "read", remaining=3, resets_in=10)
    assert limits.take("read") == 55


@pytest.mark.parametrize(("remaining", "resets_in"), [(0, None), (0, 0.0), (None, 30.0), (None, None)])
def test_half_a_notice(limits, remaining, resets_in):
    """A notice without its end, or without its count, changes nothing."""
    observe(limits, "read", remaining=remaining, resets_in=resets_in)
    assert limits.take("read") == 0


def test_many_threads_share(clock, journal):
    """No more slots are given than there are, however many threads ask at once."""
    limits = RateLimits(journal, clock, read_limit=50)
    got: list[float] = []
    threads = [
        threading.Thread(target=lambda: got.extend(limits.take("read") for _ in range(20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(0) == 50


# --- through the journal ------------------------------------------------------------------------


def test_rotations_are_counted_in_the_journal(journal, clock):
    """Two processes with one journal share the rotate limit."""
    one, other = RateLimits(journal, clock, rotate_limit=2), RateLimits(journal, clock, rotate_limit=2)
    assert [one.take("rotate"), other.take("rotate")] == [0, 0]
    assert one.take("rotate") == other.take("rotate") == 60


def test_success_does_not_touch_the_journal(limits, journal, clock):
    """What an answer with a token says is kept and told with the next slot asked for: nothing may
    stand between that token and its store."""
    observe(limits, "rotate", remaining=0, resets_in=40)
    assert journal.postponed == []
    clock.advance(15)
    limits.peek("rotate")
    assert journal.postponed == [("rotate", 25)]
    limits.take("rotate")
    assert len(journal.postponed) == 1


def test_stale_notice_is_dropped(limits, journal, clock):
    """A notice whose time is over is not told any more."""
    observe(limits, "rotate", remaining=0, resets_in=40)
    clock.advance(40)
    limits.take("rotate")
    assert journal.postponed == []


def test_refusal_is_told_at_once(limits, journal):
    """A refusal for the rate goes to the journal at once, for all processes, with the longer wait."""
    observe(limits, "rotate", remaining=0, resets_in=40, retry_after=17)
    assert journal.postponed == [("rotate", 40)]
    observe(limits, "rotate", retry_after=90)
    assert journal.postponed[-1] == ("rotate", 90)


@pytest.mark.parametrize(("remaining", "resets_in"), [(1, 40.0), (0, None), (None, 40.0), (0, 0.0)])
def test_room_left_postpones_nothing(limits, journal, remaining, resets_in):
    """As long as something is left, or nothing is said, rotations are not postponed."""
    observe(limits, "rotate", remaining=remaining, resets_in=resets_in)
    limits.take("rotate")
    assert journal.postponed == []


def test_broken_journal(limits, journal, caplog):
    """Observing never fails; what could not be told is told later, and asking for a slot says so."""
    journal.broken = True
    observe(limits, "rotate", retry_after=30)
    assert "told later" in caplog.text
    with pytest.raises(JournalUnavailable):
        limits.take("rotate")
    journal.broken = False
    assert limits.take("rotate") == 0
    assert journal.postponed == [("rotate", 30)]


def test_a_tenth_of_what_the_provider_has_left_is_not_asked_for(journal, clock):
    """Others with the same team token, and calls under way, take from it too: we stop before it is used up."""
    limits = RateLimits(journal, clock, read_limit=100)
    observe(limits, "read", remaining=12, resets_in=30)
    assert limits.take("read") == limits.take("read") == 0.0
    assert limits.take("read") == 30
    clock.advance(30)
    assert limits.take("read") == 0.0


def test_a_shared_slot_is_dated_when_its_call_is_sent(journal, limits):
    """The journal learns whose it is; slots of this process alone need no second date."""
    limits.sending("rotate", Claim(2, "mine"))
    limits.sending("read", Claim(2, "mine"))
    assert journal.dated == [("rotate", "mine")]
    journal.broken = True
    with pytest.raises(JournalUnavailable):
        limits.sending("rotate", Claim(2, "mine"))


def test_rehearsals_leave_one_slot_free(journal, clock):
    """Of the shared limit, whatever it is; with a limit of one there is none to leave."""
    rehearsal, other = Claim(REHEARSAL_RANK, "rehearsal"), Claim(2, "other")
    limits = RateLimits(journal, clock, rotate_limit=3)
    assert [limits.take("rotate", rehearsal) for _ in range(3)] == [0.0, 0.0, 60.0]
    assert limits.peek("rotate", rehearsal) == 60.0
    assert (limits.take("rotate", other), limits.take("rotate", other)) == (0.0, 60.0)
    clock.advance(60)
    assert RateLimits(journal, clock, rotate_limit=1).take("rotate", rehearsal) == 0.0


def test_a_rehearsal_gives_way_to_whoever_waits(clock):
    """The one slot that becomes free is the waiting rotation's, although the rehearsal asks first."""
    with closing(SqliteJournal.in_memory(clock)) as shared:
        limits = RateLimits(shared, clock, rotate_limit=3)
        rehearsal, other = Claim(REHEARSAL_RANK, "rehearsal"), Claim(2, "other")
        assert limits.take("rotate", Claim(2, "a")) == 0.0
        clock.advance(30)
        assert [limits.take("rotate", Claim(2, name)) for name in "bc"] == [0.0, 0.0]
        clock.advance(25)
        assert limits.take("rotate", rehearsal) > 0
        assert limits.take("rotate", other) == pytest.approx(5)
        clock.advance(5)
        assert limits.take("rotate", rehearsal) == pytest.approx(30)
        assert limits.take("rotate", other) == 0.0
