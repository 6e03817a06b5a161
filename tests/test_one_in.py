"""Which cases of a test with many the default takes."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

TESTS = Path(__file__).parent
CASES = dedent(
    """
    import pytest

    @pytest.mark.one_in({chosen})
    @pytest.mark.parametrize("kind", ["lost", "dropped"])
    @pytest.mark.parametrize("calls", [0, 3, 6])
    def test_cut_off(kind, calls):
        "Something."
    """
)


def collected(pytester: pytest.Pytester, chosen: str, *more: str) -> pytest.RunResult:
    """What this folder's conftest leaves of six cases."""
    pytester.makeini("[pytest]\nmarkers = one_in(number, group): some\n")
    pytester.makeconftest((TESTS / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(CASES.format(chosen=chosen))
    return pytester.runpytest_subprocess("--collect-only", "-q", *more)


def test_one_in_so_many_is_taken_and_all_with_long(pytester: pytest.Pytester) -> None:
    """Another one in each group; the runner counts what is left out."""
    names = ["0-lost", "3-dropped", "6-lost"]
    some = collected(pytester, "2, 2")
    assert [line.partition("[")[2].rstrip("]") for line in some.outlines if "::" in line] == names
    some.stdout.fnmatch_lines("*3/6 tests collected (3 deselected)*")
    collected(pytester, "2, 2", "--long").stdout.fnmatch_lines("*6 tests collected*")


def test_a_choice_that_leaves_a_value_out_is_refused(pytester: pytest.Pytester) -> None:
    """Every other case of an even number would be one kind only: the run ends and names it."""
    refused = collected(pytester, "2, 6")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines("*one_in leaves out all cases of *test_cut_off with *'kind'*dropped*")
