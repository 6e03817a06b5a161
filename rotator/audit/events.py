"""Every audit event that rotator writes: when, with which data, and what it means in OCSF.

The one list of them. `EVENTS.md` beside this module is made from it, `rotator audit export` goes by it, and a
test compares it with the calls that write events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Activity(IntEnum):
    """What is done to the managed entity, as the OCSF class Entity Management numbers it."""

    CREATE = 1
    READ = 2
    UPDATE = 3
    ENROLL = 6
    DISABLE = 9
    SUSPEND = 12
    RESUME = 13
    OTHER = 99


@dataclass(frozen=True)
class EventType:
    """One kind of event. Where it is told in phases, its name is `NAME.intent` and `NAME.outcome`."""

    name: str
    activity: Activity
    when: str
    """When it is written; for what has phases, what is about to be done."""
    data: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    """Data of the outcome; given only for what has phases."""

    @property
    def names(self) -> tuple[str, ...]:
        """As they stand in the log."""
        return (f"{self.name}.intent", f"{self.name}.outcome") if self.outcome else (self.name,)

    def meaning(self, name: str) -> str:
        """What an event of this name says, in a few words."""
        if not self.outcome:
            return self.when
        return f"about to {self.when}" if name.endswith(".intent") else "what came of it"

    def data_of(self, name: str) -> tuple[str, ...]:
        """The fields that an event of this name may have in its data."""
        return self.outcome if name.endswith(".outcome") else self.data


_URGENCY: Final = ("overrode_hold", "slot", "order", "drain", "kill_only", "reported")
_BEGIN: Final = ("step", "reason", "strategy", "owner", "destinations", *_URGENCY)
_WRITTEN: Final = ("destination", "ok", "fingerprint", "error")
_CHANGE: Final = ("by", "change", "subject", "now")

TYPES: Final = (
    EventType(
        "rotation.request", Activity.UPDATE, "somebody asked for a rotation over HTTP", ("caller", "reason")
    ),
    EventType("rotation.start", Activity.UPDATE, "a rotation began", _BEGIN),
    EventType("rotation.resume", Activity.UPDATE, "a process took up an unfinished rotation", _BEGIN),
    EventType("rotation.abandon", Activity.UPDATE, "it is given up and undone", ("step", "error")),
    EventType("rotation.rollback", Activity.UPDATE, "a person had it taken back", ("reason",)),
    EventType(
        "rotation.interrupt", Activity.OTHER, "a signal stopped it between two steps", ("step", "signal")
    ),
    EventType(
        "rotation.rest",
        Activity.OTHER,
        "it cannot go on by itself, or not now",
        ("state", "step", "error", "message"),
    ),
    EventType(
        "rotation.canary",
        Activity.OTHER,
        "sends were counted beside it",
        ("attempts", "failures", "longest_gap"),
    ),
    EventType("rotation.close", Activity.UPDATE, "it ended", ("state", "outage", "abandoned")),
    EventType(
        "mint.token",
        Activity.UPDATE,
        "ask the provider for a new token; the project's former one dies by it",
        ("generated_at_before", "known_fingerprints"),
        ("executed", "fingerprint", "kept", "found", "error"),
    ),
    EventType(
        "publish.destination",
        Activity.UPDATE,
        "make a destination serve the new token at once",
        ("destination", "base_version"),
        _WRITTEN,
    ),
    EventType(
        "stage.destination",
        Activity.UPDATE,
        "put the new token where readers do not look",
        ("destination", "fingerprint", "base_version"),
        _WRITTEN,
    ),
    EventType(
        "promote.destination",
        Activity.UPDATE,
        "make a destination serve a token that it holds already",
        ("destination", "base_version"),
        _WRITTEN,
    ),
    EventType(
        "retire.token",
        Activity.DISABLE,
        "kill the outgoing token; the provider's answer is thrown away",
        ("of", "generated_at_before"),
        ("executed", "of", "found", "error"),
    ),
    EventType(
        "destination.probe",
        Activity.OTHER,
        "write where no reader looks, to learn whether writing works",
        ("destination",),
        ("destination", "ok", "error"),
    ),
    EventType(
        "destination.sync",
        Activity.UPDATE,
        "a destination gets what the authoritative one holds",
        ("fingerprint", "reason"),
    ),
    EventType(
        "token.verify",
        Activity.READ,
        "use a token the way a consumer does",
        ("verifier", "fingerprint"),
        ("verifier", "fingerprint", "ok", "verdict", "attempts"),
    ),
    EventType(
        "token.prove-dead",
        Activity.READ,
        "an old token was presented, and what came of it",
        ("fingerprint", "answer", "attempts"),
    ),
    EventType(
        "token.found-dead",
        Activity.READ,
        "the token that readers hold was dead already",
        ("fingerprint", "repaired"),
    ),
    EventType("token.superseded", Activity.READ, "another mint came after ours", ("fingerprint", "own")),
    EventType(
        "token.adopt", Activity.ENROLL, "a token met in a destination is ours from now on", ("fingerprint",)
    ),
    EventType(
        "project.adopt",
        Activity.ENROLL,
        "a person took note of a token that somebody else made",
        ("token_generated_at",),
    ),
    EventType(
        "consumer.tell",
        Activity.UPDATE,
        "have a consumer read its token again",
        ("consumer", "call"),
        ("consumer", "call", "ok", "error"),
    ),
    EventType(
        "consumer.done",
        Activity.READ,
        "a consumer that was told has come to its end",
        ("consumer", "call", "detail"),
    ),
    EventType(
        "drain.start",
        Activity.READ,
        "a token that consumers are to leave is watched",
        ("of", "evidence", "min"),
    ),
    EventType("drain.end", Activity.READ, "it is not watched any more", ("result", "last_used_at")),
    EventType(
        "drain.stuck",
        Activity.READ,
        "it is still used when the longest time has passed",
        ("last_used_at", "last_used_ip"),
    ),
    EventType("drain.retire", Activity.DISABLE, "a person ended the drain", ("force",)),
    EventType(
        "rehearsal.start",
        Activity.OTHER,
        "a rehearsal of the policy begins; its rotations are those of `POLICY/rehearsal`",
        ("reason", "strategy"),
    ),
    EventType(
        "rehearsal.end",
        Activity.OTHER,
        "it has come to its end, as the process saw that brought it there",
        ("outcome", "seconds", "rotations"),
    ),
    EventType("policy.hold", Activity.SUSPEND, "a person froze the policy", ("by", "reason")),
    EventType("policy.release", Activity.RESUME, "a person freed it again", ("by",)),
    EventType(
        "standby.prepare",
        Activity.UPDATE,
        "change the second project to be like the first",
        (*_CHANGE, "writes"),
        (*_CHANGE, "ok", "error"),
    ),
    EventType(
        "journal.create",
        Activity.CREATE,
        "a journal was made; what was before is unknown to it",
        ("journal",),
    ),
    EventType(
        "audit.repaired",
        Activity.UPDATE,
        "half a line, left by a crash, was cut off the log's end",
        ("bytes", "sha256"),
    ),
)

EVENTS: Final[Mapping[str, EventType]] = {name: one for one in TYPES for name in one.names}
"""By the name in the log."""

FIELDS: Final[Mapping[str, str]] = {
    "abandoned": "why the rotation was given up",
    "answer": "`dead`, `alive`, or null where nobody could be asked",
    "attempts": "tries; of a canary, sends",
    "base_version": "version of the secret that the write replaces; the store refuses another",
    "by": "who, as the operating system knows them",
    "bytes": "how many were cut off",
    "call": "id of what a consumer is told, the same for every repetition",
    "caller": "address that asked",
    "change": "kind of change to the project",
    "consumer": "who uses the token, as `status` names them",
    "destination": "where, as `status` names it",
    "destinations": "all of the policy's, the authoritative one first",
    "detail": "how it ended, in words",
    "drain": "seconds an emergency drains at most",
    "error": "what went wrong: a code, or the provider's or store's own words",
    "evidence": "`last-used`, or `time` where nothing tells of uses",
    "executed": "whether the provider carried the call out; null: not known yet",
    "failures": "sends of the canary that failed",
    "fingerprint": "of the token concerned; never the token",
    "force": "whether the drain was ended although the token was still used",
    "found": "what looking at provider and stores showed after an unclear answer",
    "generated_at_before": "the provider's time of the token that the call will replace, as it wrote it",
    "journal": "id of the journal",
    "kept": "false: the new token was thrown away unseen",
    "kill_only": "the emergency publishes nothing",
    "known_fingerprints": "of every token that was current or staged before the call",
    "last_used_at": "the provider's time of the latest use of the token that is watched",
    "last_used_ip": "the address of that use",
    "longest_gap": "seconds between two sends that succeeded, at most",
    "message": "the same as `status` shows",
    "min": "seconds the drain lasts at least",
    "now": "the value before the change",
    "of": "project whose token dies, or is watched",
    "ok": "whether it worked",
    "order": "`kill-first` or `replace-first`",
    "outage": "seconds without a living token, as bounds",
    "outcome": "of both paths, as the state of a rotation",
    "overrode_hold": "the policy was held, and the emergency went ahead",
    "own": "a late call of our own; else somebody else's",
    "owner": "the policy's `owner`",
    "reason": "what the person who asked gave as one, or why rotator did it",
    "repaired": "whether the rotation replaces it",
    "reported": "when the emergency was declared: exposure counts from it",
    "result": "`quiet`, `max` or `forced`",
    "rotations": "ids: of the scheduled path, then of the emergency path",
    "seconds": "spent in the steps of both paths",
    "sha256": "of what was cut off",
    "signal": "number of the signal",
    "slot": "which of the policy's tokens leaked",
    "state": "of the rotation, as `history` shows it",
    "step": "the step at hand",
    "strategy": "of the policy",
    "subject": "what of the project is changed",
    "token_generated_at": "when the provider says that the project's token was made",
    "verdict": "`passed`, `failed`, or why it is not known",
    "verifier": "its type",
    "writes": "what is sent to the provider",
}
"""What the data of events means."""


def table_of_events() -> Iterator[str]:
    """The lines of a table in `EVENTS.md`."""
    yield from ("| Event | Written when | Data | OCSF activity |", "| --- | --- | --- | --- |")
    for one in TYPES:
        for name in one.names:
            data = ", ".join(f"`{field}`" for field in one.data_of(name)) or "none"
            yield f"| `{name}` | {one.meaning(name)} | {data} | {one.activity.name.capitalize()} |"


def table_of_fields() -> Iterator[str]:
    """The lines of the other one."""
    yield from ("| Field | Means |", "| --- | --- |")
    for field, meaning in FIELDS.items():
        yield f"| `{field}` | {meaning} |"
