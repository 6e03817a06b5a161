"""`verify`: uses the token that consumers read now."""

from __future__ import annotations

import uuid

from rotator.audit.base import AuditEvent
from rotator.destinations.base import Content
from rotator.engine.ports import Ports
from rotator.errors import Refused
from rotator.model import Attention, Policy, Verified
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
    results = []
    for spec in policy.verify:
        verifier = ports.verifier(spec)
        data = {"verifier": spec.type, "fingerprint": fingerprint}
        ports.audit.record(
            AuditEvent("token.verify.intent", policy.name, policy.project, trigger="manual", data=data)
        )
        for number in range(1, _TRIES + 1):
            attempt = verifier.verify(token, key=key)
            if attempt.verdict in (Verdict.PASSED, Verdict.FAILED) or number == _TRIES:
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
        results.append(Verified(spec.type, ok, number, detail))
    _tell_journal(ports, policy, results)
    return tuple(results)


def _tell_journal(ports: Ports, policy: Policy, results: list[Verified]) -> None:
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
