"""What a policy's schedule counts from."""

from __future__ import annotations

from datetime import datetime

from rotator.engine.sides import last_promote
from rotator.journal.base import Journal
from rotator.model import Form, Policy, ProjectFacts
from rotator.planner import anchor_from


def anchor_of(journal: Journal, policy: Policy, facts: ProjectFacts) -> datetime | None:
    """The active side's time of generation; for `assisted` the last promote, which only the journal knows.

    Raises Refused as `planner.anchor_from`.
    """
    if policy.form is Form.ASSISTED:
        return last_promote(journal, policy)
    return anchor_from(facts.token_generated_at)
