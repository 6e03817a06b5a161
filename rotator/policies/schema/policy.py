"""The written format of policies, as pydantic models, every key documented for editors.

The models hold what was written, in its plain JSON form, with defaults filled in and paths made
absolute; that form is the snapshot a rotation finishes by. `build` turns it into `rotator.model`.
Keys are checked in the order in which they stand here, so a check that compares two keys stands at
the later one. Checks across policies are in `across`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from rotator.policies.schedule import parse_duration
from rotator.policies.schema.places import Consumer, Destination, Notifier, Ping, Verifier
from rotator.policies.schema.values import (
    Cron,
    Duration,
    EndTime,
    Label,
    Name,
    Part,
    PositiveDuration,
    ProjectId,
    StartTime,
    Text,
    Zone,
    wrong,
)

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Window(Part):
    """Local hours in which scheduled rotations may start."""

    days: list[Day] = Field(
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        min_length=1,
        description="The days on which the window starts. Every day if left out.",
        examples=[["mon", "tue", "wed", "thu"]],
    )
    start: StartTime = Field(description="The first minute, local time.", examples=["09:00"])
    end: EndTime = Field(
        description="The first minute after the window, local time. Before `start`: over midnight.",
        examples=["16:00"],
    )

    @field_validator("end")
    @classmethod
    def _has_length(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("start"):
            raise wrong(
                "is the same time as `start`; accepted: a later time, or an earlier one (over midnight)"
            )
        return value


class Schedule(Part):
    """When rotations are due, counted from the time at which the current token was generated."""

    every: PositiveDuration | None = Field(
        None,
        description="Elapsed time after the current token was generated: a number and one of s m h d w.",
        examples=["30d"],
    )
    cron: Cron | None = Field(
        None,
        description="Instead of `every`: the first time of a cron expression (five fields, Monday is 1) "
        "after the current token was generated.",
        examples=["0 9 * * 1"],
    )
    timezone: Zone = Field(
        "UTC",
        description="The time zone of `cron` and `window`, by its IANA name.",
        examples=["Europe/Amsterdam"],
    )
    window: Window | None = Field(
        None,
        description="Scheduled rotations start only inside this window.",
        examples=[{"days": ["mon", "tue", "wed", "thu"], "start": "09:00", "end": "16:00"}],
    )
    jitter: Duration | None = Field(
        None,
        description="Spreads policies: up to this long is added, derived from the policy's name and the date.",
        examples=["2h"],
    )
    max_age: PositiveDuration | None = Field(
        None,
        description="A token of this age is rotated even outside the window, and the reason says so.",
        examples=["45d"],
    )

    @field_validator("cron")
    @classmethod
    def _one_of_two(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "every" not in info.data:
            return value
        if value is not None and info.data["every"] is not None:
            raise wrong("stands beside `every`; accepted: one of the two")
        if value is None and info.data["every"] is None:
            raise wrong("is missing, and so is `every`; accepted: one of the two, such as `every: 30d`")
        return value

    @field_validator("jitter")
    @classmethod
    def _below_every(cls, value: str | None, info: ValidationInfo) -> str | None:
        every = info.data.get("every")
        if value and every and parse_duration(value) >= parse_duration(every):
            raise wrong("is not shorter than `every`; accepted: a duration below it")
        return value

    @field_validator("max_age")
    @classmethod
    def _above_every(cls, value: str | None, info: ValidationInfo) -> str | None:
        every = info.data.get("every")
        if value and every and parse_duration(value) <= parse_duration(every):
            raise wrong("is not longer than `every`; accepted: a duration above it")
        return value


class Standby(Part):
    """What keeps mail flowing while the main token is replaced: one of the two."""

    project: ProjectId | None = Field(
        None,
        description="A second project with the same sending domains; the two are alternated.",
        examples=["16fd2706-8baf-433b-82eb-8c7fada847da"],
    )
    token: Destination | None = Field(
        None, description="A bridge token of the same project, made once by hand and kept in its own secret."
    )

    @field_validator("token")
    @classmethod
    def _one_of_two(cls, value: Destination | None, info: ValidationInfo) -> Destination | None:
        if value is not None:
            if value.overwrite or (value.create and "create" in value.model_fields_set):
                raise wrong("is only ever read; accepted: no `create` and no `overwrite`")
            value = value.model_copy(update={"create": False})
        if "project" not in info.data:
            return value
        if value is not None and info.data["project"] is not None:
            raise wrong("stands beside `project`; accepted: one of the two")
        if value is None and info.data["project"] is None:
            raise wrong("is missing, and so is `project`; accepted: one of the two")
        return value


class Drain(Part):
    """How long an outgoing token is watched before it is retired."""

    min: Duration = Field(
        "2h",
        description="At least this long after the last promote. Must outlast the slowest consumer's refresh.",
        examples=["2h"],
    )
    quiet: PositiveDuration = Field(
        "1h", description="The outgoing token was not used for this long.", examples=["1h"]
    )
    max: PositiveDuration = Field(
        "7d", description="Still in use after this long: `on_max` says what then.", examples=["7d"]
    )
    on_max: Literal["hold", "retire"] = Field(
        "hold", description="hold: a person decides. retire: the token dies although it is in use."
    )

    @field_validator("max")
    @classmethod
    def _outlasts_both(cls, value: str, info: ValidationInfo) -> str:
        for other in ("min", "quiet"):
            if other in info.data and parse_duration(value) < parse_duration(info.data[other]):
                raise wrong(f"is shorter than `{other}`; accepted: at least that ({info.data[other]})")
        return value


class RehearsalDrain(Drain):
    """The drain of a rehearsal, in which no consumer has to be waited for."""

    min: Duration = Field("10s", description="At least this long after the last promote.", examples=["10s"])
    quiet: PositiveDuration = Field(
        "5s", description="The outgoing token was not used for this long.", examples=["5s"]
    )
    max: PositiveDuration = Field(
        "10m", description="Still in use after this long: `on_max` says what then.", examples=["10m"]
    )


class Rehearsal(Part):
    """Projects and destinations nobody depends on, for `rotator rehearse`."""

    project: ProjectId = Field(
        description="A project that no policy rotates.", examples=["1b4e28ba-2fa1-4d2e-883f-0016d3cca427"]
    )
    destinations: list[Destination] = Field(
        min_length=1, description="Where the rehearsal's token goes. The first is the authoritative one."
    )
    standby: Standby | None = Field(
        None,
        description="Only for create-before-revoke, whose own steps are rehearsed with it. "
        "Left out: in-place is rehearsed.",
    )
    drain: RehearsalDrain | None = Field(
        None, description="Only beside `standby`. 10s, 5s and 10m if left out: nobody has to be waited for."
    )
    verify: list[Verifier] | None = Field(
        None,
        min_length=1,
        description="How the rehearsal's token is proved to work. As the policy's is, if left out.",
    )
    schedule: Schedule | None = Field(
        None,
        description="When `run` and `serve` rehearse, counted from the last rehearsal that succeeded. "
        "Left out: only when asked to.",
    )

    @field_validator("drain")
    @classmethod
    def _has_an_outgoing_token(
        cls, value: RehearsalDrain | None, info: ValidationInfo
    ) -> RehearsalDrain | None:
        if "standby" in info.data and info.data["standby"] is None and value is not None:
            raise wrong("needs `standby` beside it; accepted: both, or neither")
        return value


class Policy(Part):
    """What to rotate, when, how, and where the token goes."""

    name: Name = Field(
        description="Unique; up to 63 lower-case letters, digits and hyphens.",
        examples=["billing-production"],
    )
    project: ProjectId = Field(
        description="The Lettermint project whose token is rotated.",
        examples=["0f8fad5b-d9cb-469f-a165-70867728950e"],
    )
    strategy: Literal["in-place", "create-before-revoke", "assisted"] = Field(
        description="in-place: the old token dies as the new one is born. create-before-revoke: no downtime, "
        "with a standby project or a bridge token. assisted: a person makes the token."
    )
    schedule: Schedule | None = Field(None, description="When. Left out: only when asked to.")
    destinations: list[Destination] = Field(
        min_length=1, description="Where the token goes. The first is the authoritative one."
    )
    standby: Standby | None = Field(None, description="Only for create-before-revoke, which needs it.")
    drain: Drain | None = Field(None, description="Not for in-place, which has no outgoing token to watch.")
    verify: list[Verifier] = Field(
        [Ping(type="ping")], min_length=1, description="How a token is proved to work. A ping if left out."
    )
    on_out_of_band: Literal["alarm", "rotate"] = Field(
        "alarm", description="When somebody else changed the token: alarm a person, or rotate it again."
    )
    owner: Text | None = Field(
        None, description="Who answers for it; goes to audit and notifications.", examples=["team-billing"]
    )
    labels: dict[Label, Label] = Field(
        {}, description="For selecting with `-l NAME=VALUE`.", examples=[{"tier": "prod"}]
    )
    consumers: list[Consumer] = Field([], description="Told after promote, in this order.")
    notify: list[Notifier] = Field([], description="Who is told of outcomes.")
    rehearsal: Rehearsal | None = Field(
        None, description="Where `rotator rehearse` may do the same for real."
    )

    @field_validator("standby")
    @classmethod
    def _fits_strategy(cls, value: Standby | None, info: ValidationInfo) -> Standby | None:
        strategy = info.data.get("strategy")
        if strategy == "create-before-revoke" and value is None:
            raise wrong(
                "is missing, and create-before-revoke needs it; accepted: `standby: {project: ID}` "
                "or `standby: {token: DESTINATION}`"
            )
        if strategy in ("in-place", "assisted") and value is not None:
            raise wrong(f"is not for {strategy}; accepted: only with create-before-revoke")
        return value

    @field_validator("drain")
    @classmethod
    def _has_an_outgoing_token(cls, value: Drain | None, info: ValidationInfo) -> Drain | None:
        if info.data.get("strategy") == "in-place" and value is not None:
            raise wrong("is not for in-place; accepted: only with create-before-revoke or assisted")
        return value

    @field_validator("rehearsal")
    @classmethod
    def _rehearses_its_own_steps(cls, value: Rehearsal | None, info: ValidationInfo) -> Rehearsal | None:
        strategy = info.data.get("strategy")
        if value is not None and value.standby is not None and strategy in ("in-place", "assisted"):
            raise wrong(
                f"has `standby`, which is not for {strategy}; accepted: only with create-before-revoke"
            )
        return value


class PolicyFile(Part):
    """A file of rotation policies."""

    policies: list[Policy] = Field(min_length=1, description="The policies of this file.")


def json_schema() -> dict[str, Any]:
    """The format as JSON Schema (draft 2020-12), for editors and other checkers."""
    schema = _without_null(PolicyFile.model_json_schema(by_alias=True))
    assert isinstance(schema, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "rotator policies"}


def _without_null(node: Any) -> Any:
    """The same schema without the nulls that stand for "left out": nobody may write them."""
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _without_null(value) for key, value in node.items() if not (key == "default" and value is None)
    }
    choices = [choice for choice in kept.pop("anyOf", []) if choice != {"type": "null"}]
    return {**choices[0], **kept} if choices else kept
