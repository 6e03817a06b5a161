"""`rotator demo`."""

from __future__ import annotations

import sys

from rotator.cli.session import Session


def demo(session: Session) -> int:  # noqa: ARG001  # every verb takes it
    """See it all happen on this machine; nothing to set up.

    A local Lettermint, file destinations, rotations that go well and rotations that do not; prints
    what it measured.
    """
    from rotator.demo.story import run_demo  # noqa: PLC0415  # the simulator and all the rest

    return run_demo(sys.stdout)
