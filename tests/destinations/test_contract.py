"""The contract suite over files, moto's Secrets Manager and the strict one, in each form."""

from __future__ import annotations

from tests.destinations.contract import DestinationContract


class TestDestinations(DestinationContract):
    """Every place of conftest.py."""
