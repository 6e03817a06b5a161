"""The steps that only `assisted` has: a person makes the token, and a person revokes the former one."""

from __future__ import annotations

from rotator.engine.context import Context, StepResult
from rotator.engine.overlap import stage_handed_in
from rotator.engine.promote import outgoing_token
from rotator.errors import Refused
from rotator.model import StepOutcome
from rotator.provider.base import PingAnswer


def take_and_stage(context: Context) -> StepResult:
    """Stages the token that was handed in, in every destination.

    It was in memory only until then: after an interruption it is looked for among what is staged.
    """
    token = context.new
    if token is not None and not context.rotation.minted:
        if context.provider.ping(token) is PingAnswer.DEAD:
            raise Refused(
                "The token that was handed in is refused by the provider (401)",
                then="Nothing was staged",
                remedy="Make another one in the Lettermint dashboard and hand that in",
            )
        if context.old is not None and token == context.old:
            raise Refused(
                "The token that was handed in is the one that readers hold already",
                then="Nothing was staged",
                remedy="Make a new one in the Lettermint dashboard and hand that in",
            )
    stage_handed_in(context)
    return StepResult(StepOutcome.DONE)


def revoke(context: Context) -> StepResult:
    """Says which token to revoke, and looks whether that was done."""
    old = outgoing_token(context)
    if old is None:
        if context.rotation.outgoing is None:
            return StepResult(StepOutcome.SKIPPED, "there is no outgoing token")
        context.attend(
            "old-token-alive",
            f"The outgoing token ({context.rotation.old_fingerprint}) may live, and cannot be watched: no destination "
            "keeps it",
            f"In the Lettermint dashboard revoke the older token of project {context.rotation.project}; the next "
            "completed rotation takes this notice away",
        )
        return StepResult(
            StepOutcome.FAILED, "no destination keeps the outgoing token, so it cannot be watched"
        )
    if context.provider.ping(old) is PingAnswer.DEAD:
        context.ledger.settle(context.rotation, ("old-token-alive",))
        return StepResult(StepOutcome.DONE, "a person revoked it")
    shown = f"{context.rotation.old_fingerprint}"
    context.attend(
        "old-token-alive",
        f"The outgoing token ({shown}) still lives, and only a person can revoke it",
        f"In the Lettermint dashboard revoke the older token of project {context.rotation.project}; "
        "whoever watches it sees that, and so does the next `rotator run`",
    )
    return StepResult(StepOutcome.DONE, "waiting for a person to revoke the outgoing token", rest=True)
