"""How a rotation rests after an error: what it means for readers, in words and as an attention code."""

from __future__ import annotations

from datetime import timedelta

from rotator.audit.base import AuditBroken
from rotator.clock import Clock
from rotator.engine.states import VERIFY, changed, overlaps, past_no_return
from rotator.errors import EndpointGone, NeedsAttention, RotatorError
from rotator.model import REHEARSAL_RANK, Claim, Rotation, Trigger


def token_known_dead(rotation: Rotation) -> bool:
    """Whether readers certainly hold a dead token: the old one was seen dead and no new one is stored."""
    return not rotation.minted and rotation.death is not None and rotation.death.before is not None


def claim_of(rotation: Rotation) -> Claim:
    """How urgent its next mint is: what is dead first, then emergencies, then all others, rehearsals last."""
    if rotation.trigger is Trigger.REHEARSAL:
        return Claim(REHEARSAL_RANK, rotation.id)
    if token_known_dead(rotation):
        return Claim(0, rotation.id)
    return Claim(1 if rotation.urgent else 2, rotation.id)


def waiting_until(clock: Clock, seconds: float) -> str:
    """For people, while the rate limit has no room."""
    until = clock.now() + timedelta(seconds=seconds)
    return f"waiting {seconds:.0f} s for the provider's rate limit, until {until:%H:%M:%S} UTC"


def attention_of(error: RotatorError, rotation: Rotation) -> str | None:
    """The attention code of an error that a person must look at; None where nothing was changed."""
    if isinstance(error, NeedsAttention):
        return error.attention
    if isinstance(error, EndpointGone):
        return "endpoint-gone"
    if isinstance(error, AuditBroken):
        return "audit"
    if overlaps(rotation):
        return "unclear" if changed(rotation) and not rotation.abandoned else None
    if rotation.minted:
        return "verification-failed" if rotation.step == VERIFY.name else "unclear"
    if past_no_return(rotation):
        return "token-dead" if token_known_dead(rotation) else "unclear"
    return None


def in_view_of(rotation: Rotation, error: RotatorError) -> RotatorError:
    """The error with what it means here. A port tells about its own call only: that nothing was changed
    by it is no comfort once a mint was sent."""
    if isinstance(error, NeedsAttention):
        return error
    if overlaps(rotation):
        if rotation.abandoned or not changed(rotation):
            return error
        then = "Readers hold a living token; the next `rotator run` goes on from here"
        return NeedsAttention(
            attention_of(error, rotation) or "unclear", error.happened, then=then, remedy=error.remedy
        )
    if not past_no_return(rotation):
        return error
    if rotation.minted:
        then = "The new token is stored; the next `rotator run` goes on from here"
    elif token_known_dead(rotation):
        then = "Readers hold a dead token; the next `rotator run` goes on from here"
    else:
        then = "Readers may hold a dead token; the next `rotator run` looks again and finishes"
    return NeedsAttention(
        attention_of(error, rotation) or "unclear", error.happened, then=then, remedy=error.remedy
    )


def unexpected(error: Exception) -> RotatorError:
    """For what no port should raise. Its text may quote anything: the type is enough, the log has the rest."""
    return RotatorError(
        f"An unexpected {type(error).__name__} stopped the rotation",
        then="What was begun is in the journal; the log has the traceback",
        remedy="Please report it; `rotator run` takes the rotation up again",
    )
