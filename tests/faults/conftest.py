"""The bench of the engine's tests, for faults of real stores."""

from tests.engine.conftest import make_bench

__all__ = ["make_bench"]
