"""Consumers: told that readers get another token now, and watched until they have taken it.

Nothing that a consumer does or leaves undone takes a rotation back: the token that readers get lives. What is told
carries the rotation's id and the token's fingerprint, so that a repetition after a crash disturbs nobody.
Invariant: how a consumer stood is written down before it is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from rotator.consumers.base import Call, Consumer, Standing
from rotator.engine.context import Context, StepResult
from rotator.engine.resting import unexpected
from rotator.engine.states import TELL_BRIDGE
from rotator.errors import Interrupted, RotatorError
from rotator.model import ConsumerRecord, ConsumerState, Slot, StepOutcome

log = logging.getLogger(__name__)

BEHIND: Final = "consumer-behind"
_SYNCS: Final = "external-secret"
"""What comes after one of these reads what it writes: told too soon, it would read the former token again."""

Answer = TypeVar("Answer")


def tell_consumers(context: Context) -> StepResult:
    """Tells each in the policy's order that readers get another token; who cannot be told is told at a later look."""
    rotation = context.rotation
    if rotation.abandoned and not rotation.consumers:
        return StepResult(StepOutcome.SKIPPED, "no consumer was told of the new token")
    wanted = _served_now(context)
    if wanted is None:
        return StepResult(StepOutcome.SKIPPED, "readers get no token")
    if not rotation.consumers or rotation.consumers[0].fingerprint != wanted:
        context.save(
            consumers=tuple(
                ConsumerRecord(str(entry["type"]), consumer.describe(), wanted)
                for entry, consumer in context.consumers
            )
        )
    # A leaked token's death is still to be proved: whoever cannot be told at once is told afterwards.
    for _ in context.attempts(0.0 if rotation.urgent else context.timings.consumer_budget):
        if not _look(context):
            break
    if left := _raise_behind(context):
        return StepResult(StepOutcome.FAILED, "; ".join(left))
    return StepResult(StepOutcome.DONE)


def await_consumers(context: Context) -> StepResult:
    """One look. DONE when every consumer has come to its end; else the rotation rests here."""
    if not context.rotation.consumers:
        return StepResult(StepOutcome.SKIPPED, "no consumer was told")
    if not (left := outstanding(context)):
        return StepResult(StepOutcome.DONE)
    waiting = f"waiting for consumers: {'; '.join(left)}"
    emergency = context.rotation.emergency
    if emergency is None or not (context.rotation.abandoned or emergency.slot is Slot.BRIDGE):
        return StepResult(StepOutcome.DONE, waiting, rest=True)
    if context.rotation.abandoned:
        # What has leaked is still to be killed; that they come to their end is not waited for.
        context.notes.append(
            f"Consumers were told of the outgoing token and are not done: {'; '.join(left)}."
        )
    else:
        # A person is still to be told of the bridge; a later look comes back here.
        _attend(context, left)
    return StepResult(StepOutcome.FAILED, waiting)


def outstanding(context: Context) -> list[str]:
    """Who has not taken the token yet, in words, after one look at each. What takes too long is raised."""
    if not context.rotation.consumers:
        return []
    _look(context)
    _raise_behind(context)
    return [_worded(one) for one in context.rotation.consumers if one.state is not ConsumerState.DONE]


def prove_reachable(context: Context) -> None:
    """Every consumer can be told, as far as that shows without disturbing it; a leaked token waits for no proof.

    Raises as `Consumer.preflight`.
    """
    if context.rotation.urgent:
        return
    for _, consumer in context.consumers:
        context.say(f"proving that {consumer.describe()} can be told")
        consumer.preflight()


def _served_now(context: Context) -> str | None:
    """The fingerprint of the token that readers get from here on."""
    if context.rotation.abandoned:
        return context.rotation.old_fingerprint
    if context.rotation.step == TELL_BRIDGE.name:
        return context.rotation.bridge_fingerprint
    return context.rotation.new_fingerprint


def _look(context: Context) -> bool:
    """Tells those who were not told and may be by now, and asks the others how far they have come.

    Returns whether somebody is still to be told whom trying again soon may reach.
    """
    soon = False
    sync: ConsumerRecord | None = None
    for place, (entry, consumer) in enumerate(context.consumers):
        record = context.rotation.consumers[place]
        if record.state is ConsumerState.DONE:
            continue
        if record.told is None and sync is not None:
            _record(context, place, replace(record, detail=f"to be told once {sync.ref} has synced"))
            soon = soon or sync.state is not ConsumerState.FAILED
            continue
        if record.told is None:
            _tell(context, place, consumer)
        if context.rotation.consumers[place].told is not None:
            _ask(context, place, consumer)
        record = context.rotation.consumers[place]
        soon = soon or (record.told is None and record.state is ConsumerState.PENDING)
        if entry["type"] == _SYNCS and record.state is not ConsumerState.DONE:
            sync = record
    return soon


def _tell(context: Context, place: int, consumer: Consumer) -> None:
    record = context.rotation.consumers[place]
    call = _call(context, record)
    if record.tries == 0:
        # Later tries are told by what comes of them, when that is something new.
        context.audit("consumer.tell.intent", consumer=record.ref, call=call.id)
    record = replace(record, tries=record.tries + 1)
    mark = _asked(consumer.mark)
    if isinstance(mark, str):
        record = replace(record, mark=record.mark or mark)
        # The fence: whoever has taken over tells of a token of its own.
        context.save(consumers=_with(context, place, record))
        context.say(f"telling {record.ref}")
        failed = _asked(lambda: consumer.tell(call))
    else:
        failed = mark
    if failed is None:
        context.audit("consumer.tell.outcome", consumer=record.ref, call=call.id, ok=True)
        _record(
            context,
            place,
            replace(record, state=ConsumerState.TOLD, told=context.instant(), detail="told"),
        )
        return
    if failed.happened != record.detail:
        context.say(f"{record.ref} could not be told: {failed.happened}")
        context.audit("consumer.tell.outcome", consumer=record.ref, call=call.id, ok=False, error=failed.code)
    state = ConsumerState.PENDING if failed.retryable else ConsumerState.FAILED
    _record(context, place, replace(record, state=state, detail=failed.happened))


def _ask(context: Context, place: int, consumer: Consumer) -> None:
    record = context.rotation.consumers[place]
    assert record.told is not None
    call = _call(context, record)
    late = record.told.seconds_until(context.instant()) > context.timings.rollout
    answer = _asked(lambda: consumer.standing(call, record.mark))
    if isinstance(answer, Standing):
        detail, stuck = answer.detail, answer.stuck
    else:
        # It is at it; that it cannot be asked for the moment changes nothing.
        detail, stuck = f"could not be asked: {answer.happened}", not answer.retryable
    if isinstance(answer, Standing) and answer.done:
        context.audit("consumer.done", consumer=record.ref, call=call.id, detail=detail)
        state = ConsumerState.DONE
    else:
        state = ConsumerState.FAILED if late or stuck else ConsumerState.TOLD
    if detail != record.detail:
        context.say(f"{record.ref}: {detail}")
    _record(context, place, replace(record, state=state, detail=detail))


def _asked(question: Callable[[], Answer]) -> Answer | RotatorError:
    """What a consumer's own code answers or raises: nothing of it may end the rotation. Raises Interrupted."""
    try:
        return question()
    except Interrupted:
        raise
    except RotatorError as error:
        return error
    except Exception as error:
        log.exception("unexpected error at a consumer")
        return unexpected(error)


def _call(context: Context, record: ConsumerRecord) -> Call:
    got = context.rotation.returned or context.rotation.promoted or context.rotation.served
    return Call(
        id=f"{context.rotation.id}-{record.fingerprint.removeprefix('fp_')[:8]}",
        rotation=context.rotation.id,
        policy=context.policy.name,
        owner=context.policy.owner,
        fingerprint=record.fingerprint,
        at=got.wall if got is not None else context.clock.now(),
    )


def _with(context: Context, place: int, record: ConsumerRecord) -> tuple[ConsumerRecord, ...]:
    records = context.rotation.consumers
    return (*records[:place], record, *records[place + 1 :])


def _record(context: Context, place: int, record: ConsumerRecord) -> None:
    """Writes it down if it says something new."""
    if record != context.rotation.consumers[place]:
        context.save(consumers=_with(context, place, record))


def _raise_behind(context: Context) -> list[str]:
    """Who could not be told, or takes too long, in words: raised, or settled where there is none.

    One that only waits for an ExternalSecret before it is not behind by itself.
    """
    left = [
        _worded(one)
        for one in context.rotation.consumers
        if one.state is ConsumerState.FAILED or (one.state is ConsumerState.PENDING and one.tries)
    ]
    if left:
        _attend(context, left)
    else:
        context.ledger.settle(context.rotation, (BEHIND,))
    return left


def _attend(context: Context, left: list[str]) -> None:
    context.attend(
        BEHIND,
        f"Consumers may still use the former token: {'; '.join(left)}",
        f"Mend it, then `rotator run` goes on; `rotator status {context.policy.name}` shows how far they have come. "
        f"One that is gone for good: take it out of the policy; `{context.policy.renewal}` then ends this, in a drain "
        f"after `rotator retire {context.policy.name} --force`",
    )


def _worded(record: ConsumerRecord) -> str:
    return f"{record.ref}: {record.detail or 'not told yet'}"
