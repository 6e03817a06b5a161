"""The table that names every step's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rotator.engine import states
from rotator.engine.assisted import revoke, take_and_stage
from rotator.engine.closing import close
from rotator.engine.consumers import await_consumers, tell_consumers
from rotator.engine.context import Context, StepResult
from rotator.engine.discard import discard, drain_incoming
from rotator.engine.drain import drain
from rotator.engine.kill import kill_only
from rotator.engine.mint import mint_and_publish
from rotator.engine.overlap import mint_and_stage
from rotator.engine.overlap_verify import verify_bridge, verify_current, verify_staged
from rotator.engine.preflight import preflight
from rotator.engine.promote import promote, promote_bridge, rollback
from rotator.engine.retire import retire
from rotator.engine.steps import prove_dead, verify
from rotator.model import Form

_SHARED: Final[Mapping[str, Callable[[Context], StepResult]]] = {
    states.PREFLIGHT.name: preflight,
    states.PROVE_DEAD.name: prove_dead,
    states.TELL.name: tell_consumers,
    states.AWAIT.name: await_consumers,
    states.CLOSE.name: close,
}
_IN_PLACE: Final = {
    **_SHARED,
    states.KILL.name: kill_only,
    states.MINT_PUBLISH.name: mint_and_publish,
    states.VERIFY.name: verify,
}
_OVERLAP: Final = {
    **_SHARED,
    states.MINT_STAGE.name: mint_and_stage,
    states.TAKE_STAGE.name: take_and_stage,
    states.VERIFY_STAGED.name: verify_staged,
    states.BRIDGE.name: promote_bridge,
    states.VERIFY_BRIDGE.name: verify_bridge,
    states.PROMOTE.name: promote,
    states.VERIFY.name: verify_current,
    states.TELL_BRIDGE.name: tell_consumers,
    states.DRAIN.name: drain,
    states.DRAIN_BRIDGE.name: drain,
    states.RETIRE.name: retire,
    states.REVOKE.name: revoke,
    states.ROLLBACK.name: rollback,
    states.DRAIN_INCOMING.name: drain_incoming,
    states.DISCARD.name: discard,
}


def function_of(form: Form, name: str) -> Callable[[Context], StepResult]:
    """What carries out a step of this name."""
    return (_IN_PLACE if form is Form.IN_PLACE else _OVERLAP)[name]
