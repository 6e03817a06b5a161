"""The consumers of one policy: may we tell them, and would it have an effect. None of them notices."""

from __future__ import annotations

from rotator.errors import RotatorError
from rotator.model import Policy
from rotator.operations.doctor.parts import Parts
from rotator.operations.doctor.report import Findings


def examine_consumers(policy: Policy, parts: Parts, found: Findings) -> None:
    """Each by itself, in the policy's order."""
    for entry in policy.consumers:
        where = str(entry["type"])
        try:
            consumer = parts.consumer(entry)
            where = consumer.describe()
            consumer.preflight()
        except RotatorError as error:
            found.error("consumer", error, subject=where)
        else:
            found.ok("consumer", f"{where} can be told of a new token.", subject=where)
