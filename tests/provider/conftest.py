"""What the tests of the provider share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rotator.provider.credential import TeamCredential
from rotator.provider.lettermint import LettermintProvider
from rotator.secret import Secret
from tests.conftest import FakeClock
from tests.provider.scripted_peer import TEAM_TOKEN, Peer, Reply


class RecordingLimiter:
    """A limiter with room for everything, unless told otherwise, that remembers what it was told."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.taken: list[str] = []
        self.observed: list[tuple[str, int | None, float | None, float | None]] = []
        self.broken = False

    def take(self, kind: str, claim=None) -> float:
        if self.delays:
            return self.delays.pop(0)
        self.taken.append(kind)
        return 0.0

    def sending(self, kind: str, claim) -> None:
        """Slots here have no dates."""

    def peek(self, kind: str, claim=None) -> float:
        return self.delays[0] if self.delays else 0.0

    def observe(
        self, kind: str, *, remaining: int | None, resets_in: float | None, retry_after: float | None
    ) -> None:
        if self.broken:
            raise RuntimeError("book-keeping is broken")
        self.observed.append((kind, remaining, resets_in, retry_after))


@pytest.fixture
def limiter() -> RecordingLimiter:
    return RecordingLimiter()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Starts scripted peers and ends them with the test."""
    started: list[Peer] = []

    def start(*replies: Reply, read: bool = True) -> Peer:
        started.append(Peer(*replies, read=read))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def provider(clock: FakeClock, limiter: RecordingLimiter) -> Iterator[Callable[..., LettermintProvider]]:
    """Makes providers for a peer, with a fixed team token unless another credential is given."""
    made: list[LettermintProvider] = []

    def make(
        peer: Peer, credential: TeamCredential | None = None, timeout: float = 2.0, **more
    ) -> LettermintProvider:
        credential = credential or TeamCredential(lambda: Secret(TEAM_TOKEN))
        made.append(LettermintProvider(peer.url, credential, limiter, clock, call_timeout=timeout, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
