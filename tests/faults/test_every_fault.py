"""No fault that was thought of is without a case."""

from tests.faults import (
    test_clocks,
    test_provider_faults,
    test_record_faults,
    test_relay_faults,
    test_store_faults,
)
from tests.faults.world import NAMED

SUITES = (test_clocks, test_provider_faults, test_record_faults, test_relay_faults, test_store_faults)


def test_every_named_fault_has_a_case() -> None:
    """Each name of the list is one that a suite has cases for, and no suite has cases for a name that is not there."""
    covered = [name for suite in SUITES for name in suite.CASES]
    assert sorted(covered) == sorted(NAMED)
