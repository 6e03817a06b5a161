"""One policy: its project, verifiers and consumers, the files it names, and what stands about it in the journal."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rotator.engine.recovery import open_of
from rotator.errors import RateLimited, RotatorError, sentences
from rotator.model import Policy, ProjectFacts, VerifySpec
from rotator.operations.doctor.consumers import examine_consumers
from rotator.operations.doctor.destinations import examine_destinations
from rotator.operations.doctor.pair import examine_cover
from rotator.operations.doctor.parts import Parts, Records
from rotator.operations.doctor.provider import Reached
from rotator.operations.doctor.rehearsal import examine_rehearsal
from rotator.operations.doctor.report import ATTENTION, UNUSABLE, Findings
from rotator.operations.doctor.trail import Trail
from rotator.secret import Secret
from rotator.verifiers.base import Attempt, Verdict

_TRIES: Final = 3
_PAUSE: Final = 0.5
"""Seconds between attempts of a verifier that could not be asked."""
_LONGEST_WAIT: Final = 60.0
"""Seconds to wait once for room in the limit on reads: with many policies it may be full."""
_NAME: Final = 80
"""Characters of a project's name that are shown."""
_REFUSED: Final = 1
_UNREACHABLE: Final = 6


def examine_policy(policy: Policy, parts: Parts, records: Records, reached: Reached, found: Findings) -> None:
    """Everything about one policy, and about what it is rehearsed on. Whatever fails is a finding; nothing stops the
    checks that can be done."""
    _examine(policy, parts, records, reached, found)

    def again(rehearsal: Policy, apart: Findings) -> None:
        _examine(rehearsal, parts, records, reached, apart)

    examine_rehearsal(policy, records, parts.clock, found, again)


def _examine(policy: Policy, parts: Parts, records: Records, reached: Reached, found: Findings) -> None:
    unfinished = _standing(policy, records, found)
    facts = _project(policy, parts, reached, found)
    trail = Trail(parts.clock, records.audit, policy)
    token = examine_destinations(policy, parts, records, reached, trail, found, unfinished=unfinished)
    examine_cover(policy, parts, records, reached, found, token=token, unfinished=unfinished)
    for spec in policy.verify:
        _verify(spec, policy, parts, records, reached, trail, found, facts=facts, token=token)
    examine_consumers(policy, parts, found)
    for name, path in named_files(policy):
        _readable(name, path, found)


def _standing(policy: Policy, records: Records, found: Findings) -> bool:
    """What the journal knows to be open; whether a rotation is unfinished."""
    if records.journal is None:
        return False
    try:
        unfinished = [one for one in open_of(records.journal, policy) if one.policy == policy.name]
        hold = records.journal.holds().get(policy.name)
        attentions = records.journal.attentions(policy.name)
    except RotatorError as error:
        found.error("journal", error)
        return False
    for rotation in unfinished:
        what = f"Rotation {rotation.id} is unfinished; its next step is {rotation.step}."
        found.warning("rotation", what, f"`rotator run` takes it up, or `{policy.renewal}`.")
    if hold is not None:
        what = f"Held since {hold.since:%Y-%m-%d %H:%M} UTC by {hold.by}: nothing rotates it."
        found.warning("hold", what, f"`rotator release {policy.name}` unfreezes it.")
    for entry in attentions:
        if entry.code != "orphan":
            what = f"{entry.code} since {entry.since:%Y-%m-%d %H:%M} UTC: {entry.message}"
            found.failed("attention", what, entry.next, code=ATTENTION, subject=entry.code)
    return bool(unfinished)


def _project(policy: Policy, parts: Parts, reached: Reached, found: Findings) -> ProjectFacts | None:
    if reached.provider is None or not reached.reads_projects:
        hint = "Mend what failed of the provider first."
        found.skipped("project", "Projects cannot be read.", hint, subject=policy.project)
        return None
    try:
        try:
            facts = reached.provider.project(policy.project)
        except RateLimited as full:
            parts.clock.wait(min(full.retry_after, _LONGEST_WAIT))
            facts = reached.provider.project(policy.project)
    except RotatorError as error:
        found.error("project", error, subject=policy.project)
        return None
    name = f"{facts.name[:_NAME]!r} is visible" if facts.name else "It is visible"
    if facts.token_generated_at is not None:
        found.ok("project", f"{name}; its token was made at {facts.token_generated_at}.", subject=facts.id)
    elif policy.schedule is None or policy.rehearses:
        found.ok("project", f"{name}; the provider tells no time for its token.", subject=facts.id)
    else:
        found.warning(
            "project",
            f"{name}; the provider tells no time for its token, so its schedule has nothing to count from.",
            f"`{policy.renewal}` makes a token whose time is known.",
            subject=facts.id,
        )
    return facts


def _verify(
    spec: VerifySpec,
    policy: Policy,
    parts: Parts,
    records: Records,
    reached: Reached,
    trail: Trail,
    found: Findings,
    *,
    facts: ProjectFacts | None,
    token: Secret | None,
) -> None:
    """One verifier with the token that lives now, as preflight tries it."""
    if spec.type == "smtp" and facts is not None and not facts.smtp_enabled:
        found.failed(
            "verify",
            "The smtp verifier cannot pass: SMTP is switched off at the project (smtp_enabled is false).",
            "Switch SMTP on for the project in the Lettermint dashboard, or take smtp out of `verify`.",
            code=_REFUSED,
            subject=spec.type,
        )
        return
    why = "No living token is stored to try it with." if token is None else "The provider does not answer."
    if token is None or (reached.provider is None and spec.type != "smtp"):
        found.skipped("verify", why, "Mend what is said above, then try again.", subject=spec.type)
        return
    fingerprint = records.fingerprints.of(token) if records.fingerprints else ""
    data = {"verifier": spec.type, "fingerprint": fingerprint}
    try:
        verifier = parts.verifier(spec)
    except RotatorError as error:
        found.error("verify", error, subject=spec.type)
        return
    trail.record("token.verify.intent", data)
    # A key of its own: no test send of a rotation is repeated by it, nor repeats it.
    key = f"rotator-doctor-{uuid.uuid4().hex}"
    for number in range(1, _TRIES + 1):
        attempt = verifier.verify(token, key=key)
        if attempt.verdict in (Verdict.PASSED, Verdict.FAILED) or number == _TRIES:
            break
        parts.clock.wait(_PAUSE)
    trail.record("token.verify.outcome", {**data, "verdict": attempt.verdict})
    _judge(spec, policy, attempt, found)


def _judge(spec: VerifySpec, policy: Policy, attempt: Attempt, found: Findings) -> None:
    detail = attempt.detail
    said = sentences(detail if spec.type in detail.split(" ", 1)[0] else f"{spec.type}: {detail}")
    if attempt.verdict is Verdict.PASSED:
        if attempt.project is not None and attempt.project not in policy.projects:
            found.failed(
                "verify",
                f"The stored token belongs to project {attempt.project}; the policy names {policy.project}.",
                "Correct `project` or the destination in the policy.",
                code=_REFUSED,
                subject=spec.type,
            )
        else:
            whose = ", which shows that the token is this project's" if attempt.project else ""
            found.ok("verify", said[:-1] + f"{whose}.", subject=spec.type)
        return
    if attempt.verdict is Verdict.UNKNOWN:
        hint = "Try again; if it stays, check the network between here and Lettermint."
        found.failed("verify", said, hint, code=_UNREACHABLE, subject=spec.type)
        return
    hints = {
        "ping": "Look at the token's IP restrictions in the Lettermint dashboard.",
        "send": f"Verify the domain of `from` ({spec.sender}) in the Lettermint dashboard and attach it to "
        "the project, or change `from` in the policy.",
        "smtp": "Check LETTERMINT_SMTP_URL, and that SMTP is switched on for the project.",
    }
    found.failed("verify", said, hints[spec.type], code=_REFUSED, subject=spec.type)


def named_files(policy: Policy) -> Iterator[tuple[str, Path]]:
    """The files that `notify` names, each with the key that names it. A consumer looks at its own."""
    for part in policy.notify:
        yield from _files_of(part)


def _files_of(part: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    for name, value in part.items():
        if name.endswith("_file") and isinstance(value, str):
            yield f"{part.get('type', '')}: {name}", Path(value)


def _readable(name: str, path: Path, found: Findings) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        found.failed(
            "file",
            f"{name}: {path} cannot be read: {error.strerror}.",
            f"Put the secret into {path}, readable by this user, or correct the policy.",
            code=UNUSABLE,
            subject=str(path),
        )
        return
    if empty:
        hint = f"Put the secret, and nothing else, into {path}."
        found.failed("file", f"{name}: {path} is empty.", hint, code=UNUSABLE, subject=str(path))
    else:
        found.ok("file", f"{name}: {path} can be read.", subject=str(path))
