"""The same nursery as the acceptance suite's."""

from __future__ import annotations

from tests.acceptance.conftest import nursery

__all__ = ["nursery"]
