"""A policy survives being written down: as YAML, as a snapshot in the journal, and back."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotator.errors import InvalidPolicies
from rotator.model import Drain, Schedule, Strategy, VerifySpec, Window
from rotator.policies.load import from_snapshot, load_policies
from rotator.rehearsal import rehearsal_of

FULL = """
policies:
  - name: billing
    project: 0F8FAD5B-d9cb-469f-a165-70867728950e
    strategy: create-before-revoke
    standby: {token: {type: aws-secrets-manager, secret_id: bridge, key: token}}
    drain: {min: 3h, on_max: retire}
    schedule:
      every: 4w
      timezone: Europe/Amsterdam
      window: {days: [thu, mon], start: 22:00, end: 06:30}
      jitter: 2h
      max_age: 45d
    destinations:
      - {type: aws-secrets-manager, secret_id: "arn:aws:secretsmanager:eu-central-1:111122223333:secret:a/b-AbCdEf"}
      - {type: vault-kv, mount: /secret/, path: a//b, key: token, create: true, overwrite: true}
      - {type: file, path: ../x/./y.json, key: token, mode: 0640}
      - {type: file, path: bare, create: false}
    verify: [{type: send, from: a@example.com}, {type: smtp}]
    notify: [{type: slack, url_file: slack}]
    rehearsal: {project: 1b4e28ba-2fa1-4d2e-883f-0016d3cca427, destinations: [{type: file, path: r}]}
"""


def load_one(folder: Path, text: str) -> Any:
    (folder / "p").mkdir(exist_ok=True)
    (folder / "p" / "a.yaml").write_text(text, encoding="utf-8")
    [policy] = load_policies([Path("p")]).policies
    return policy


def test_a_full_policy_means_what_it_says(folder) -> None:
    """Every key arrives as the fact that the rest of rotator works with."""
    policy = load_one(folder, FULL)
    assert policy.name == "billing"
    assert policy.project == "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert policy.strategy is Strategy.CREATE_BEFORE_REVOKE
    assert policy.schedule == Schedule(
        every=timedelta(days=28),
        timezone="Europe/Amsterdam",
        window=Window(days=(0, 3), start=22 * 60, end=6 * 60 + 30),
        jitter=timedelta(hours=2),
        max_age=timedelta(days=45),
    )
    assert policy.drain == Drain(min=timedelta(hours=3), on_max="retire")
    assert policy.standby_project is None
    assert policy.standby_token.ref == "aws-secrets-manager:bridge#token"
    assert [(d.place, d.key, d.create, d.overwrite) for d in policy.destinations] == [
        ("aws-secrets-manager:eu-central-1:111122223333/a/b-AbCdEf", None, False, False),
        ("vault-kv:secret/a/b", "token", True, True),
        (f"file:{folder}/x/y.json", "token", True, False),
        (f"file:{folder}/p/bare", None, False, False),
    ]
    assert [dict(d.options) for d in policy.destinations] == [
        {
            "secret_id": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:a/b-AbCdEf",
            "region": "eu-central-1",
        },
        {"mount": "secret", "path": "a/b"},
        {"path": f"{folder}/x/y.json", "format": "json", "mode": 0o640},
        {"path": f"{folder}/p/bare", "format": None, "mode": None},
    ]
    assert policy.verify == (
        VerifySpec("send", "a@example.com", "ok@testing.lettermint.co"),
        VerifySpec("smtp"),
    )
    assert policy.notify == (
        {"type": "slack", "url_file": f"{folder}/p/slack", "on": ["failed", "needs-attention"]},
    )
    assert policy.rehearsal.project == "1b4e28ba-2fa1-4d2e-883f-0016d3cca427"
    assert [d.place for d in policy.rehearsal.destinations] == [f"file:{folder}/p/r"]
    assert (policy.file, policy.line) == (f"{folder}/p/a.yaml", 3)


REHEARSED = FULL.replace(
    "destinations: [{type: file, path: r}]}",
    "destinations: [{type: file, path: r}], schedule: {every: 7d}, verify: [{type: ping}], "
    "standby: {token: {type: file, path: rb}}, drain: {min: 1m}}",
)


def test_a_rehearsal_has_a_schedule_a_drain_and_verifiers_of_its_own(folder) -> None:
    """Nobody depends on it, so what is left out of its drain is short; verifiers left out are the policy's."""
    short, own = load_one(folder, FULL).rehearsal, load_one(folder, REHEARSED).rehearsal
    assert (short.verify, short.schedule, short.standby_project, short.standby_token) == (
        (),
        None,
        None,
        None,
    )
    assert short.drain == Drain(timedelta(seconds=10), timedelta(seconds=5), timedelta(minutes=10), "hold")
    assert own.verify == (VerifySpec("ping"),)
    assert own.schedule == Schedule(every=timedelta(days=7))
    assert own.standby_token.place == f"file:{folder}/p/rb"
    assert own.drain == Drain(timedelta(minutes=1), timedelta(seconds=5), timedelta(minutes=10), "hold")


@pytest.mark.parametrize("text", [FULL, REHEARSED])
def test_a_rehearsal_comes_back_from_its_snapshot(folder, text) -> None:
    """What the journal keeps of it makes the same policy again, with nobody to restart or to wake."""
    policy = load_one(folder, text)
    rehearsal = rehearsal_of(policy)
    assert from_snapshot(json.loads(json.dumps(rehearsal.snapshot))) == rehearsal
    assert from_snapshot(policy.snapshot) == policy
    assert (rehearsal.name, rehearsal.rehearses) == ("billing/rehearsal", "billing")
    assert (rehearsal.consumers, rehearsal.notify, rehearsal.rehearsal) == ((), (), None)
    assert rehearsal.snapshot["consumers"] == rehearsal.snapshot["notify"] == []
    assert rehearsal.renewal == "rotator rehearse billing"
    overlaps = text == REHEARSED
    assert rehearsal.strategy is (Strategy.CREATE_BEFORE_REVOKE if overlaps else Strategy.IN_PLACE)
    assert rehearsal.verify == ((VerifySpec("ping"),) if overlaps else policy.verify)


def test_defaults_are_those_of_the_design(folder) -> None:
    """A policy of the required keys only verifies by ping, alarms, and has the documented drain."""
    policy = load_one(
        folder,
        "policies: [{name: a, project: 0f8fad5b-d9cb-469f-a165-70867728950e, strategy: assisted, "
        "destinations: [{type: vault-kv, mount: m, path: p, key: token}]}]",
    )
    assert policy.verify == (VerifySpec("ping"),)
    assert policy.on_out_of_band == "alarm"
    assert policy.schedule is None
    assert policy.drain == Drain(timedelta(hours=2), timedelta(hours=1), timedelta(days=7), "hold")
    assert (policy.owner, policy.labels, policy.consumers, policy.notify) == (None, {}, (), ())
    assert (policy.destinations[0].create, policy.destinations[0].overwrite) == (False, False)


def test_times_and_modes_need_no_quotes(folder) -> None:
    """YAML 1.2: 22:00 is a text and 0640 keeps its digits, quoted or not."""
    quoted = FULL.replace("22:00", '"22:00"').replace("06:30", '"06:30"').replace("0640", '"0640"')
    assert load_one(folder, FULL) == load_one(folder, quoted)


def test_a_snapshot_does_not_depend_on_where_the_process_runs(folder, monkeypatch) -> None:
    """Paths in it are absolute, so that a rotation is finished from another folder by the same places."""
    policy = load_one(folder, FULL)
    text = json.dumps(policy.snapshot)
    monkeypatch.chdir("/")
    assert from_snapshot(json.loads(text)) == policy


def test_a_snapshot_that_is_not_understood_is_refused(folder) -> None:
    """A key of a later version, or a path that is not absolute, is a problem with its field."""
    snapshot = dict(load_one(folder, FULL).snapshot)
    with pytest.raises(
        InvalidPolicies, match=r"p/a\.yaml:3: billing\.colour: is not a key that is known here"
    ):
        from_snapshot({**snapshot, "colour": "red"})
    relative = [{"type": "file", "path": "x"}]
    with pytest.raises(InvalidPolicies, match=r"billing\.destinations\[0\]\.path: is not an absolute path"):
        from_snapshot({**snapshot, "destinations": relative})


# --- any policy -----------------------------------------------------------------------------------

ids = st.uuids().map(str)
words = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True).filter(lambda k: "lm_" not in k)
flags = st.booleans()


def part(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


def kind(type_: str, /, **required: Any) -> dict[str, Any]:
    return {"type": st.just(type_), **required}


def hours(low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(lambda n: f"{n}h")


destinations = st.one_of(
    part(
        kind("aws-secrets-manager", secret_id=words),
        region=st.sampled_from(["eu-central-1", "us-gov-west-1"]),
        key=keys,
        create=flags,
        overwrite=flags,
    ),
    part(kind("vault-kv", mount=words, path=words, key=keys), create=flags, overwrite=flags),
    part(kind("file", path=words), create=flags, overwrite=flags, mode=st.sampled_from(["0600", "660"])),
    part(kind("file", path=words, key=keys), format=st.sampled_from(["json", "env"]), create=flags),
)
windows = st.sampled_from(
    [
        {"days": ["mon"], "start": "09:00", "end": "16:00"},
        {"start": "22:00", "end": "04:00"},
        {"days": ["sun", "sat"], "start": "00:00", "end": "24:00"},
    ]
)
schedules = st.one_of(
    part({"every": hours(100, 1000)}, jitter=hours(0, 99), max_age=hours(1001, 2000), window=windows),
    part(
        {"cron": st.sampled_from(["0 9 * * 1", "*/5 3-4 1,15 jan-jun 7"])},
        timezone=st.sampled_from(["UTC", "Europe/Amsterdam", "Australia/Lord_Howe"]),
        jitter=hours(0, 10_000),
        window=windows,
    ),
)
names_of_things = {"namespace": words, "name": words}
optional = {
    "schedule": schedules,
    "verify": st.lists(
        st.sampled_from([{"type": "ping"}, {"type": "smtp"}, {"type": "send", "from": "a@example.com"}]),
        min_size=1,
        max_size=3,
    ),
    "on_out_of_band": st.sampled_from(["alarm", "rotate"]),
    "owner": words,
    "labels": st.dictionaries(words, words, max_size=3),
    "consumers": st.lists(
        st.one_of(
            part(kind("kubernetes-restart", kind=st.just("StatefulSet"), **names_of_things)),
            part(kind("external-secret", **names_of_things)),
            part(kind("webhook", url=st.just("https://example.com/x")), signing_key_file=words),
        ),
        max_size=2,
    ),
    "notify": st.lists(
        st.one_of(
            part(kind("slack", url_file=words), on=st.just(["completed"])),
            part(kind("pagerduty", routing_key_file=words)),
        ),
        max_size=2,
    ),
}
base = {"name": words, "project": ids, "destinations": st.lists(destinations, min_size=1, max_size=1)}
bridges = st.one_of(
    part(kind("vault-kv", mount=st.just("bridges"), path=words, key=keys)),
    part(kind("file", path=words.map("bridges/{}".format)), key=keys),
)
drains = part({}, min=hours(0, 24), quiet=hours(1, 24), on_max=st.sampled_from(["hold", "retire"]))
policies = st.one_of(
    part({**base, "strategy": st.just("in-place")}, **optional),
    part({**base, "strategy": st.just("assisted")}, drain=drains, **optional),
    part(
        {
            **base,
            "strategy": st.just("create-before-revoke"),
            "standby": st.one_of(part({"project": ids}), part({"token": bridges})),
        },
        drain=drains,
        **optional,
    ),
)


@given(written=policies)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_policy_survives_its_snapshot(folder, written: dict[str, Any]) -> None:
    """For any valid policy, what the journal stored gives back the very same policy, and stays stable."""
    policy = load_one(folder, json.dumps({"policies": [written]}))
    restored = from_snapshot(json.loads(json.dumps(policy.snapshot)))
    assert restored == policy
    assert restored.snapshot == policy.snapshot
