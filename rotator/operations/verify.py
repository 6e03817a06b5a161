"""`verify`: uses the token that consumers read now."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from rotator.audit.base import AuditEvent
from rotator.destinations.base import Content
from rotator.engine.ports import Ports
from rotator.errors import Refused
from rotator.model import Attention, Policy, Verified, VerifySpec
from rotator.secret import Secret
from rotator.verifiers.base import Verdict

_TRIES = 3


def verify(ports: Ports, policy: Policy) -> tuple[Verified, ...]:
    """One answer per verifier of the policy; what it finds wrong is raised as attention, what it finds
    mended is cleared. Raises Refused where there is no token to verify, and what reading raises."""
    destination = ports.destination(policy.authoritative)
    reading = destination.read()
    token = reading.value_if_token
    if token is None:
        raise Refused(
            f"{destination.describe()} holds no token "
            + ("yet" if reading.content in (Content.MISSING, Content.EMPTY) else "but something else"),
            then="Nothing was verified",
            remedy=f"`{policy.renewal}` puts one there",
        )
    fingerprint = ports.fingerprints.of(token)
    key = f"rotator-{uuid.uuid4().hex}-verify-{fingerprint}"
    results = tuple(tried(ports, policy, spec, token, key=key)[0] for spec in policy.verify)
    _tell_journal(ports, policy, results)
    return results


def tried(
    ports: Ports, policy: Policy, spec: VerifySpec, token: Secret, *, key: str, tries: int = _TRIES
) -> tuple[Verified, str | None]:
    """One verifier, audited: what came of it, and the project whose token it showed this to be, if it did.

    Raises AuditUnavailable.
    """
    data = {"verifier": spec.type, "fingerprint": ports.fingerprints.of(token)}
    ports.audit.record(
        AuditEvent("token.verify.intent", policy.name, policy.project, trigger="manual", data=data)
    )
    for number in range(1, tries + 1):
        attempt = ports.verifier(spec).verify(token, key=key)
        if attempt.verdict in (Verdict.PASSED, Verdict.FAILED) or number == tries:
            break
        ports.clock.wait(0.5)
    ok = attempt.verdict is Verdict.PASSED
    detail = attempt.detail
    if ok and attempt.project is not None and attempt.project not in policy.projects:
        ok, detail = False, f"the token belongs to project {attempt.project}"
    ports.audit.record(
        AuditEvent(
            "token.verify.outcome",
            policy.name,
            policy.project,
            trigger="manual",
            data={**data, "ok": ok, "attempts": number},
        )
    )
    return Verified(spec.type, ok, number, detail), attempt.project


def _tell_journal(ports: Ports, policy: Policy, results: Sequence[Verified]) -> None:
    failed = [f"{result.type}: {result.detail}" for result in results if not result.ok]
    if not failed:
        ports.journal.clear_attention(policy.name, ("verification-failed", "token-dead"))
        return
    ports.journal.raise_attention(
        Attention(
            policy.name,
            "verification-failed",
            ports.clock.now(),
            f"The token that consumers read does not pass verification: {'; '.join(failed)}",
            f"`rotator verify {policy.name}` tries again; `{policy.renewal}` replaces it",
        )
    )
