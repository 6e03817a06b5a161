"""Consumers as processes of their own, and what they saw together."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rotator.secret import Secret
from tests.acceptance.site import SENDER, Site

PROGRAM = Path(__file__).with_name("consumer.py")
PATIENCE = 30.0


def digest(token: Secret) -> str:
    """As the consumers write a token."""
    return hashlib.sha256(token.reveal().encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Read:
    asked: float
    answered: float
    token: str


@dataclass(frozen=True)
class Sent:
    began: float
    answered: float
    token: str
    failure: str


@dataclass(frozen=True)
class Seen:
    """What one consumer saw."""

    store: str
    cache: float
    reads: tuple[Read, ...]
    sends: tuple[Sent, ...]

    @property
    def failures(self) -> list[Sent]:
        return [one for one in self.sends if one.failure]

    @property
    def longest_gap(self) -> float:
        """Seconds between two sends that were accepted, at most."""
        accepted = [one.answered for one in self.sends if not one.failure]
        return max(later - earlier for earlier, later in pairwise(accepted))


@dataclass(frozen=True)
class Between:
    """A moment on the boot clock, as closely as several consumers together can tell it."""

    earliest: float
    latest: float


class Crowd:
    """Consumers that send from entering to leaving; then `seen` has what each of them saw."""

    def __init__(
        self,
        site: Site,
        stores: Iterable[Mapping[str, Any]],
        *,
        cache: float,
        interval: float,
    ) -> None:
        self._site = site
        self._stores = list(stores)
        self._cache = cache
        self._interval = interval
        self._process: subprocess.Popen[bytes] | None = None
        self._told: list[TextIO] = []
        self.seen: list[Seen] = []

    def __enter__(self) -> Self:
        common = {
            "url": self._site.simulator.url,
            "cache": self._cache,
            "interval": self._interval,
            "sender": SENDER,
        }
        pipes = [os.pipe() for _ in self._stores]
        orders = [
            {**common, "store": store, "output": telling}
            for store, (_, telling) in zip(self._stores, pipes, strict=True)
        ]
        self._told = [os.fdopen(told, encoding="utf-8") for told, _ in pipes]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(PROGRAM), json.dumps(orders)],
                env=self._site.environment,
                cwd=self._site.folder,
                stdin=subprocess.PIPE,
                pass_fds=[telling for _, telling in pipes],
            )
        finally:
            for _, telling in pipes:
                os.close(telling)
        if any(told.readline() != "sending\n" for told in self._told):
            self.leave()
            raise AssertionError("a consumer could not begin to send")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.leave()
        assert error is not None or code == 0, "a consumer failed; what it said is on standard error"

    def leave(self) -> int:
        """They end by themselves once nobody is left at the other side of their standard input. Not 0 where one of
        them did not come to tell what it saw."""
        if self._process is None:
            return 0
        assert self._process.stdin is not None
        self._process.stdin.close()
        for told, store in zip(self._told, self._stores, strict=True):
            with told:
                found = json.loads(told.read() or '{"reads": [], "sends": []}')
            self.seen.append(
                Seen(
                    store=store["type"],
                    cache=self._cache,
                    reads=tuple(Read(*one) for one in found["reads"]),
                    sends=tuple(Sent(*one) for one in found["sends"]),
                )
            )
        code = self._process.wait(PATIENCE)
        self._process = None
        return code


def death_of(old: str, crowd: Iterable[Seen]) -> Between:
    """When a token died: after it was last sent with and accepted, and before the first refusal came back."""
    sends = [send for seen in crowd for send in seen.sends if send.token == old]
    return Between(
        earliest=max(send.began for send in sends if not send.failure),
        latest=min(send.answered for send in sends if send.failure),
    )


def served_since(new: str, old: str, crowd: Iterable[Seen]) -> Between:
    """When the last store had begun to serve a token: after it last gave the old one to a reader who asked, and
    before a reader had the new one."""
    moments = {}
    for store in {seen.store for seen in crowd}:
        reads = [read for seen in crowd if seen.store == store for read in seen.reads]
        moments[store] = (
            max(read.asked for read in reads if read.token == old),
            min(read.answered for read in reads if read.token == new),
        )
    return Between(
        earliest=max(moment[0] for moment in moments.values()),
        latest=max(moment[1] for moment in moments.values()),
    )
