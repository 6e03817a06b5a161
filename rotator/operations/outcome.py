"""What became of work on several policies, and the exit code of all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from rotator.errors import Busy, Held, Interrupted, RotatorError, combine_exit_codes, exit_code_of
from rotator.model import Rotation, State, Synced


@dataclass(frozen=True)
class Outcome:
    """What became of several policies."""

    rotations: tuple[Rotation, ...] = ()
    errors: tuple[tuple[str, RotatorError], ...] = ()
    """Policies for which nothing was begun, and why."""
    notes: tuple[str, ...] = ()
    """Passed over without harm; for standard error."""
    codes: tuple[int, ...] = ()
    synced: tuple[Synced, ...] = ()
    """Destinations that disagreed and were brought into line, or were not."""

    @property
    def exit_code(self) -> int:
        return combine_exit_codes(list(self.codes))


def outcome_of(rotations: Iterable[Rotation]) -> Outcome:
    """The outcome of rotations alone."""
    rotations = tuple(rotations)
    return Outcome(rotations, codes=tuple(one.exit_code for one in rotations))


def with_rotations(outcome: Outcome, rotations: Iterable[Rotation], stopped: Interrupted | None) -> Outcome:
    """The same outcome after its rotations went on; `stopped` where somebody interrupted that."""
    rotations = tuple(rotations)
    codes = [one.exit_code for one in rotations] + [exit_code_of(error) for _, error in outcome.errors]
    return replace(
        outcome,
        rotations=rotations,
        codes=tuple([*codes, exit_code_of(stopped)] if stopped else codes),
        notes=(*outcome.notes, str(stopped)) if stopped else outcome.notes,
    )


@dataclass
class Gathered:
    """An outcome while it comes about."""

    rotations: list[Rotation] = field(default_factory=list)
    errors: list[tuple[str, RotatorError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    synced: list[Synced] = field(default_factory=list)

    def add(self, rotations: Iterable[Rotation]) -> None:
        for rotation in rotations:
            if rotation.state is State.FAILED and rotation.exit_code == 0 and rotation.emergency is None:
                continue  # closed because a newer one took its place, which tells the outcome
            self.rotations.append(rotation)
            self.codes.append(rotation.exit_code)

    def fail(self, name: str, error: RotatorError) -> None:
        self.errors.append((name, error))
        self.codes.append(exit_code_of(error))

    def take(self, name: str, result: list[Rotation] | RotatorError) -> None:
        """As a run sees it: what is held or in other hands is passed over."""
        if isinstance(result, Busy | Held):
            self.notes.append(f"{name}: passed over: {result.happened}.")
        elif isinstance(result, RotatorError):
            self.fail(name, result)
        else:
            self.add(result)

    def outcome(self) -> Outcome:
        return Outcome(
            tuple(self.rotations),
            tuple(self.errors),
            tuple(self.notes),
            tuple(self.codes),
            tuple(self.synced),
        )
