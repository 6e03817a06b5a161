"""Knobs for faults: what goes wrong with the next calls of a name.

`Faults.add("rotate", "lost-answer")` makes the next rotate-token execute and drop its connection.
The kinds and their parameters are `KINDS`. Each kind has a slot; of the faults that match a call, the
first of each slot applies, so faults of one slot form a queue and those of different slots combine.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from typing import Any, Final

from rotator.simulator.answers import HTML, Answer, error, message
from rotator.simulator.calls import NAMES, SMTP_NAMES
from rotator.simulator.state import Effects

ANY: Final = "*"
MAX_SECONDS: Final = 10**9
PROXY_PAGE: Final = "<html><head><title>Error</title></head><body><h1>Error</h1></body></html>"


class Execution(StrEnum):
    """What becomes of the call itself."""

    NOW = "now"
    NEVER = "never"
    LATE = "late"


Replacement = Callable[[str, datetime], Answer]
"""Makes the answer to send in place of the rules' own, from the call's name and the wall time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that goes wrong with one call. The default plan is that nothing does."""

    names: tuple[str, ...] = ()
    latency: float = 0.0
    """Seconds before the execution."""
    answer_latency: float = 0.0
    """Seconds between the execution and the answer."""
    execution: Execution = Execution.NOW
    late_by: float = 0.0
    drop: bool = False
    hang: float = 0.0
    """Seconds before a dropped connection is closed."""
    replacement: Replacement | None = None
    smtp_code: int | None = None
    """What the SMTP relay answers in place of the rules' own answer."""
    content_type: str | None = None
    truncate: bool = False
    """The header promises the whole body, half of it is sent."""
    padding: int = 0
    """Bytes of white space after the body."""
    without: str | None = None
    """A field to leave out of a JSON object."""
    new_token_delay: float = 0.0
    dead_token_delay: float = 0.0
    read_lag: float = 0.0
    relay_lag: float = 0.0

    @property
    def effects(self) -> Effects:
        return Effects(self.new_token_delay, self.dead_token_delay, self.read_lag, self.relay_lag)

    def answer_for(self, answer: Answer | None, call: str, wall: datetime) -> Answer | None:
        """What to send when the rules answered `answer`; None means drop the connection."""
        if self.drop:
            return None
        if self.replacement is not None:
            return self.replacement(call, wall)
        if answer is None:
            return None
        if self.without is not None and isinstance(answer.body, dict):
            kept = {name: value for name, value in answer.body.items() if name != self.without}
            answer = replace(answer, body=kept)
        return answer


Changes = dict[str, Any]


def _number(value: Any) -> float:
    """Parameters may come over HTTP: what is no number is told to whoever sets the fault."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"seconds and sizes are numbers from 0 to {MAX_SECONDS}")
    return value


def _lost_answer(*, hang: float = 0.0) -> Changes:
    return {"drop": True, "hang": _number(hang)}


def _dropped(*, hang: float = 0.0) -> Changes:
    return {"execution": Execution.NEVER, **_lost_answer(hang=hang)}


def _late(*, seconds: float, hang: float = 0.0) -> Changes:
    return {"execution": Execution.LATE, "late_by": _number(seconds), **_lost_answer(hang=hang)}


def _error_before(*, status: int = 503, page: bool = False) -> Changes:
    return {"execution": Execution.NEVER, **_error_after(status=status, page=page)}


def _error_after(*, status: Any = 502, page: bool = False) -> Changes:
    if not isinstance(status, int) or not 500 <= status <= 599:
        raise ValueError("status must be 500 to 599")
    answer = Answer(status, PROXY_PAGE, HTML) if page else error(status, "INTERNAL_ERROR", "Server error.")
    return {"replacement": lambda _call, _wall: answer}


def _status(*, status: Any, executed: bool = False) -> Changes:
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError("status must be 200 to 599")
    execution = Execution.NOW if executed else Execution.NEVER
    return {"execution": execution, "replacement": lambda _call, _wall: message(status, "Fault.")}


def _smtp_answer(*, code: Any, executed: bool = False) -> Changes:
    if not isinstance(code, int) or not 400 <= code <= 599:
        raise ValueError("code must be 400 to 599")
    return {"execution": Execution.NOW if executed else Execution.NEVER, "smtp_code": code}


def _gone(*, status: int = 404) -> Changes:
    if status not in (404, 405, 410):
        raise ValueError("status must be 404, 405 or 410")
    return _status(status=status)


def _too_many(*, retry_after: int | None = 1, http_date: bool = False) -> Changes:
    def answer(call: str, wall: datetime) -> Answer:
        # The team calls and /send have different forms of a 429 (SDK 3.2.0).
        text = "Too Many Attempts."
        made = error(429, "TOO_MANY_REQUESTS", text) if call == "send" else message(429, text)
        if retry_after is None:
            return made
        until = format_datetime(wall + timedelta(seconds=retry_after), usegmt=True)
        return replace(made, headers=(("Retry-After", until if http_date else str(retry_after)),))

    return {"execution": Execution.NEVER, "replacement": answer}


class Reach(StrEnum):
    """The calls for which a kind of fault means something."""

    MINTS = "rotate"
    HTTP = "calls over HTTP"
    SMTP = "the SMTP relay"
    EVERY = "every call"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: its slot, and what its parameters do to the plan."""

    slot: str
    changes: Callable[..., Changes]
    reach: Reach = Reach.HTTP

    def hits(self, call: str) -> bool:
        """Whether it means something for a call; a kind for mints is not set for ANY."""
        if self.reach is Reach.MINTS:
            return call == "rotate"
        if call == ANY or self.reach is Reach.EVERY:
            return True
        return (self.reach is Reach.SMTP) == (call in SMTP_NAMES)

    def parameters(self) -> dict[str, Any]:
        """Names and defaults; `inspect.Parameter.empty` where one must be given."""
        return {name: one.default for name, one in inspect.signature(self.changes).parameters.items()}


def _seconds(name: str) -> Callable[..., Changes]:
    def changes(*, seconds: float) -> Changes:
        return {name: _number(seconds)}

    return changes


def _content_type(*, content_type: str = HTML) -> Changes:
    return {"content_type": content_type}


def _truncated() -> Changes:
    return {"truncate": True}


def _oversized(*, size: int = 64 * 1024 * 1024) -> Changes:
    return {"padding": int(_number(size))}


def _malformed(*, field: str = "new_token") -> Changes:
    return {"without": field}


_OUTCOME: Final = "outcome"
KINDS: Final[Mapping[str, Kind]] = {
    "latency": Kind("latency", _seconds("latency"), Reach.EVERY),
    "answer-latency": Kind("answer-latency", _seconds("answer_latency"), Reach.EVERY),
    "lost-answer": Kind(_OUTCOME, _lost_answer, Reach.EVERY),
    "dropped": Kind(_OUTCOME, _dropped, Reach.EVERY),
    "late": Kind(_OUTCOME, _late),
    "error-before": Kind(_OUTCOME, _error_before),
    "error-after": Kind(_OUTCOME, _error_after),
    "status": Kind(_OUTCOME, _status),
    "gone": Kind(_OUTCOME, _gone),
    "too-many": Kind(_OUTCOME, _too_many),
    "smtp-answer": Kind(_OUTCOME, _smtp_answer, Reach.SMTP),
    "wrong-content-type": Kind(_OUTCOME, _content_type),
    "truncated": Kind(_OUTCOME, _truncated),
    "oversized": Kind(_OUTCOME, _oversized),
    "malformed": Kind(_OUTCOME, _malformed),
    "slow-new-token": Kind("new-token", _seconds("new_token_delay"), Reach.MINTS),
    "slow-dead-token": Kind("dead-token", _seconds("dead_token_delay"), Reach.MINTS),
    "read-lag": Kind("read-lag", _seconds("read_lag"), Reach.MINTS),
    "relay-lag": Kind("relay-lag", _seconds("relay_lag"), Reach.MINTS),
}


@dataclass(slots=True)
class Fault:
    """One fault that waits for its calls."""

    id: int
    call: str
    kind: str
    times: int | None
    """Calls left to hit; None: every one until it is removed."""
    skip: int
    """Matching calls to let pass first."""
    project: str | None
    params: Mapping[str, Any]
    changes: Changes = field(repr=False)

    def matches(self, call: str, project: str | None) -> bool:
        named = self.call == call or (self.call == ANY and KINDS[self.kind].hits(call))
        return named and self.project in (None, project)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "call": self.call,
            "kind": self.kind,
            "times": self.times,
            "skip": self.skip,
            "project": self.project,
            **self.params,
        }


class Faults:
    """The faults that are set. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: list[Fault] = []
        self._last_id = 0

    def add(
        self,
        call: str,
        kind: str,
        *,
        times: int | None = 1,
        skip: int = 0,
        project: str | None = None,
        **params: Any,
    ) -> int:
        """Sets a fault for the next `times` calls named `call`: a name of `calls.CALLS`, `smtp-auth` or
        `smtp-send`, or `*` for all for which the kind means something.

        Returns its id. Raises ValueError for a name, kind or parameter that does not exist.
        """
        if call not in (ANY, *NAMES, *SMTP_NAMES):
            known = ", ".join(sorted(NAMES | SMTP_NAMES))
            raise ValueError(f"no call is named {call!r}; there are {known}")
        if kind not in KINDS:
            raise ValueError(f"no fault is named {kind!r}; there are {', '.join(KINDS)}")
        if not KINDS[kind].hits(call):
            raise ValueError(f"{kind} is a fault of {KINDS[kind].reach} only")
        if times is not None and times < 1:
            raise ValueError("times must be at least 1, or null for every call")
        accepted = KINDS[kind].parameters()
        missing = [name for name, default in accepted.items() if default is inspect.Parameter.empty]
        if not set(params) <= set(accepted) or not set(missing) <= set(params):
            raise ValueError(f"{kind} takes {', '.join(accepted) or 'no parameters'}")
        changes = KINDS[kind].changes(**params)
        with self._lock:
            self._last_id += 1
            self._set.append(Fault(self._last_id, call, kind, times, skip, project, params, changes))
            return self._last_id

    def remove(self, fault: int) -> None:
        """Takes one fault away; nothing happens if it is spent."""
        with self._lock:
            self._set = [one for one in self._set if one.id != fault]

    def clear(self) -> None:
        with self._lock:
            self._set = []

    def waiting(self) -> list[dict[str, Any]]:
        """The faults still set, with what is left of each."""
        with self._lock:
            return [one.as_json() for one in self._set]

    def take(self, call: str, project: str | None) -> Plan:
        """The plan for one call. Uses up one call of each fault that is part of it."""
        if not self._set:
            return NO_FAULT
        changes: Changes = {}
        names: dict[str, str] = {}
        with self._lock:
            for fault in self._set:
                slot = KINDS[fault.kind].slot
                if not fault.matches(call, project) or slot in names:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                names[slot] = fault.kind
                changes |= fault.changes
                if fault.times is not None:
                    fault.times -= 1
            self._set = [one for one in self._set if one.times is None or one.times > 0]
        return replace(NO_FAULT, names=tuple(names.values()), **changes)


NO_FAULT: Final = Plan()
