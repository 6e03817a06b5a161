"""The engine's bench, for operations over it."""

from __future__ import annotations

from tests.engine.conftest import bench, make_bench

__all__ = ["bench", "make_bench"]
