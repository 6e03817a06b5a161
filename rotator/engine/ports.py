"""Everything outside that the engine touches, handed over in one piece by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rotator.audit.base import Audit
from rotator.clock import Clock
from rotator.consumers.base import Consumer
from rotator.destinations.base import DestinationFactory
from rotator.journal.base import Journal
from rotator.model import Policy, VerifySpec
from rotator.provider.base import Limiter, Provider
from rotator.secret import Fingerprinter
from rotator.verifiers.base import Verifier


@dataclass(frozen=True)
class Ports:
    """Everything outside that a rotation touches."""

    provider: Provider
    destination: DestinationFactory
    verifier: Callable[[VerifySpec], Verifier]
    limiter: Limiter
    journal: Journal
    audit: Audit
    fingerprints: Fingerprinter
    clock: Clock
    consumer: Callable[[Mapping[str, Any]], Consumer]
    """The consumer of one entry of a policy's `consumers`; making it asks for nothing."""
    from_snapshot: Callable[[Mapping[str, Any]], Policy]
