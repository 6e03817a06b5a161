"""Every problem names file, line and field, and says what is wrong and what is accepted."""

from __future__ import annotations

import pytest

from rotator.errors import InvalidPolicies
from rotator.policies.load import load_policies
from rotator.secret import Secret

P1 = "0f8fad5b-d9cb-469f-a165-70867728950e"
P2 = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
TOKEN = "lm_" + "A1b2" * 8
TEAM_TOKEN = "lm_team_" + "A1b2" * 8

GOOD = f"""policies:
  - name: ok
    project: {P1}
    strategy: in-place
    destinations:
      - {{type: file, path: x.json, key: token}}
"""
"""Six lines; what a test adds begins on line 7."""


def good(name: str = "ok", project: str = P1, path: str = "x.json") -> str:
    return GOOD.replace("name: ok", f"name: {name}").replace(P1, project).replace("x.json", path)


ONE = [
    # names and keys
    ("name: ok", "name: Ok", "a.yaml:2: policies[0].name: is not a policy name; accepted: 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end"),
    ("name: ok", "name: 12", "a.yaml:2: policies[0].name: must be a text; put it in quotes"),
    ("name: ok", "name:", "a.yaml:2: policies[0].name: is empty; give it a value or remove it"),
    ("    strategy: in-place\n", "", "a.yaml:2: ok.strategy: is missing; accepted: in-place, create-before-revoke, assisted"),
    ("    strategy: in-place\n", "    stratgy: in-place\n    strategy: in-place\n", "a.yaml:4: ok.stratgy: is not a key that is known here; accepted: name, project, strategy, schedule, destinations, standby, drain, verify, on_out_of_band, owner, labels, consumers, notify, rehearsal; did you mean strategy?"),
    ("strategy: in-place", "strategy: inplace", "a.yaml:4: ok.strategy: is not a value that is known here; accepted: in-place, create-before-revoke, assisted; did you mean in-place?"),
    ("strategy: in-place", "strategy: [in-place]", "a.yaml:4: ok.strategy: is not a value that is known here; accepted: in-place, create-before-revoke, assisted"),
    (f"project: {P1}", "project: billing", "a.yaml:3: ok.project: is not a Lettermint project id; accepted: a UUID such as 0f8fad5b-d9cb-469f-a165-70867728950e"),
    (f"    project: {P1}\n", "", "a.yaml:2: ok.project: is missing; accepted: a text such as 0f8fad5b-d9cb-469f-a165-70867728950e"),
    # destinations
    ("{type: file, path: x.json, key: token}", "{type: file, path: x.json, ky: token}", "a.yaml:6: ok.destinations[0].ky: is not a key that is known here; accepted: type, path, key, format, mode, create, overwrite; did you mean key?"),
    ("{type: file, path: x.json, key: token}", "{path: x.json}", "a.yaml:6: ok.destinations[0].type: is missing; accepted: aws-secrets-manager, vault-kv, file"),
    ("{type: file, path: x.json, key: token}", "{type: vault, path: x}", "a.yaml:6: ok.destinations[0].type: is not a value that is known here; accepted: aws-secrets-manager, vault-kv, file; did you mean vault-kv?"),
    ("{type: file, path: x.json, key: token}", "x.json", "a.yaml:6: ok.destinations[0]: must be a mapping of keys and values"),
    ("{type: file, path: x.json, key: token}", "{type: file, key: token}", "a.yaml:6: ok.destinations[0].path: is missing; accepted: a text such as ./secrets/billing.env"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: secrets/}", "a.yaml:6: ok.destinations[0].path: names a folder; accepted: the path of a file"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: ~/x.json}", "a.yaml:6: ok.destinations[0].path: begins with ~, which is not expanded; accepted: an absolute or a relative path"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: x.rotator}", "a.yaml:6: ok.destinations[0].path: ends in .rotator, where staged tokens are kept; accepted: any other name"),
    ("{type: file, path: x.json, key: token}", '{type: file, path: "x\\0y"}', "a.yaml:6: ok.destinations[0].path: holds an invisible character; accepted: printable text on one line"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: x, format: env}", "a.yaml:6: ok.destinations[0].format: needs `key`, the field to write; without both the whole file is the bare token"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: x, key: a-b, format: env}", "a.yaml:6: ok.destinations[0].format: is env, and `key` is not a variable name; accepted: letters, digits and _ in `key`"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: x, key: a, format: toml}", "a.yaml:6: ok.destinations[0].format: is not a value that is known here; accepted: json, env"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: x, mode: 0440}", 'a.yaml:6: ok.destinations[0].mode: is not a usable file mode; accepted: octal, read and write for the owner, such as "0640"'),
    ("{type: file, path: x.json, key: token}", "{type: file, path: x, mode: 640}", "a.yaml:6: ok.destinations[0].mode: must be a text; put it in quotes"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: x, create: yes}", "a.yaml:6: ok.destinations[0].create: must be true or false"),
    ("{type: file, path: x.json, key: token}", "{type: file, path: x, key: }", "a.yaml:6: ok.destinations[0].key: is empty; give it a value or remove it"),
    ("{type: file, path: x.json, key: token}", '{type: file, path: x, key: " a"}', "a.yaml:6: ok.destinations[0].key: begins or ends with a space; remove it"),
    ("{type: file, path: x.json, key: token}", "{type: vault-kv, mount: secret, path: x}", "a.yaml:6: ok.destinations[0].key: is missing; accepted: a text such as token"),
    ("{type: file, path: x.json, key: token}", "{type: vault-kv, mount: secret, path: ../x, key: x}", "a.yaml:6: ok.destinations[0].path: is not a path in Vault; accepted: names separated by single slashes, without . and .."),
    ("{type: file, path: x.json, key: token}", "{type: vault-kv, mount: secret, path: x/rotator-pending, key: x}", "a.yaml:6: ok.destinations[0].path: ends in rotator-pending, where staged tokens are kept; accepted: any other name"),
    ("{type: file, path: x.json, key: token}", '{type: aws-secrets-manager, secret_id: "prod billing"}', "a.yaml:6: ok.destinations[0].secret_id: is not a secret of AWS Secrets Manager; accepted: its name (letters, digits and /_+=.@-) or its ARN"),
    ("{type: file, path: x.json, key: token}", "{type: aws-secrets-manager, secret_id: x, region: frankfurt}", "a.yaml:6: ok.destinations[0].region: is not an AWS region; accepted: a name such as eu-central-1"),
    ("{type: file, path: x.json, key: token}", '{type: aws-secrets-manager, secret_id: "arn:aws:secretsmanager:eu-west-1:111122223333:secret:x-AbCdEf", region: eu-central-1}', "a.yaml:6: ok.destinations[0].region: is not the region of the ARN in `secret_id`; accepted: the same one, or none"),
    ("    destinations:\n      - {type: file, path: x.json, key: token}\n", "    destinations: []\n", "a.yaml:5: ok.destinations: is an empty list; accepted: at least one"),
    ("    destinations:\n      - {type: file, path: x.json, key: token}\n", "    destinations: {type: file, path: x.json}\n", "a.yaml:5: ok.destinations: must be a list"),
    ("    destinations:\n      - {type: file, path: x.json, key: token}\n", "", "a.yaml:2: ok.destinations: is missing; accepted: a list of at least one"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), ONE)
def test_one_mistake_is_one_problem(problems, old: str, new: str, expected: str) -> None:
    """A single mistake in the required keys is told once, at its line and field."""
    assert old in GOOD
    assert problems(GOOD.replace(old, new, 1)) == [expected]


ADDED = [
    # schedule
    ("schedule: {}", "a.yaml:7: ok.schedule.cron: is missing, and so is `every`; accepted: one of the two, such as `every: 30d`"),
    ('schedule: {every: 30d, cron: "0 9 * * 1"}', "a.yaml:7: ok.schedule.cron: stands beside `every`; accepted: one of the two"),
    ("schedule: {every: 1d12h}", "a.yaml:7: ok.schedule.every: is not a duration; accepted: one whole number and one unit of s, m, h, d, w, such as 30d"),
    ("schedule: {every: 1.5d}", "a.yaml:7: ok.schedule.every: is not a duration; accepted: one whole number and one unit of s, m, h, d, w, such as 30d"),
    ("schedule: {every: 30}", "a.yaml:7: ok.schedule.every: must be a text; put it in quotes"),
    ("schedule: {every: 0d}", "a.yaml:7: ok.schedule.every: is zero; accepted: a duration above zero, such as 30d"),
    ("schedule: {every: 36501d}", "a.yaml:7: ok.schedule.every: is too long; accepted: up to 36500d"),
    ("schedule: {every: " + "9" * 5000 + "d}", "a.yaml:7: ok.schedule.every: is too long; accepted: up to 36500d"),
    ('schedule: {cron: "0 9 * *"}', 'a.yaml:7: ok.schedule.cron: does not have five fields; accepted: the five fields of cron (minute, hour, day of month, month, day of week) such as "0 9 * * 1"'),
    ('schedule: {cron: "0 0 9 * * 1"}', 'a.yaml:7: ok.schedule.cron: does not have five fields; accepted: the five fields of cron (minute, hour, day of month, month, day of week) such as "0 9 * * 1"'),
    ('schedule: {cron: "0 25 * * 1"}', 'a.yaml:7: ok.schedule.cron: has a hour field that cron does not accept; accepted: the five fields of cron (minute, hour, day of month, month, day of week) such as "0 9 * * 1"'),
    ('schedule: {cron: "0 0 30 2 *"}', 'a.yaml:7: ok.schedule.cron: has a day-of-month field that cron does not accept; accepted: the five fields of cron (minute, hour, day of month, month, day of week) such as "0 9 * * 1"'),
    ("schedule: {every: 30d, timezone: Europe/Amsterdm}", "a.yaml:7: ok.schedule.timezone: is not a time zone; accepted: a name of the IANA database such as Europe/Amsterdam; did you mean Europe/Amsterdam?"),
    ("schedule: {every: 30d, timezone: /etc/localtime}", "a.yaml:7: ok.schedule.timezone: is not a time zone; accepted: a name of the IANA database such as Europe/Amsterdam"),
    ("schedule: {every: 30d, timezone: Europe}", "a.yaml:7: ok.schedule.timezone: is not a time zone; accepted: a name of the IANA database such as Europe/Amsterdam"),
    ("schedule: {every: 30d, timezone: localtime}", "a.yaml:7: ok.schedule.timezone: is not a time zone; accepted: a name of the IANA database such as Europe/Amsterdam"),
    ("schedule: {every: 1d, jitter: 24h}", "a.yaml:7: ok.schedule.jitter: is not shorter than `every`; accepted: a duration below it"),
    ("schedule: {every: 1d, max_age: 24h}", "a.yaml:7: ok.schedule.max_age: is not longer than `every`; accepted: a duration above it"),
    ('schedule: {every: 1d, window: {start: "09:00", end: "09:00"}}', "a.yaml:7: ok.schedule.window.end: is the same time as `start`; accepted: a later time, or an earlier one (over midnight)"),
    ('schedule: {every: 1d, window: {start: "24:00", end: "09:00"}}', 'a.yaml:7: ok.schedule.window.start: is not a time of day; accepted: "00:00" to "23:59"'),
    ('schedule: {every: 1d, window: {start: "9:00", end: "16:00"}}', 'a.yaml:7: ok.schedule.window.start: is not a time of day; accepted: "00:00" to "23:59"'),
    ('schedule: {every: 1d, window: {start: "09:00", end: "24:01"}}', 'a.yaml:7: ok.schedule.window.end: is not a time of day; accepted: "00:00" to "24:00"'),
    ('schedule: {every: 1d, window: {days: [], start: "09:00", end: "16:00"}}', "a.yaml:7: ok.schedule.window.days: is an empty list; accepted: at least one"),
    ("schedule:", "a.yaml:7: ok.schedule: is empty; give it a value or remove it"),
    # verify
    ("verify: []", "a.yaml:7: ok.verify: is an empty list; accepted: at least one"),
    ("verify: [{type: send}]", "a.yaml:7: ok.verify[0].from: is missing; accepted: a text such as rotation@example.com"),
    ('verify: [{type: send, from: "Rotation <rotation@example.com>"}]', "a.yaml:7: ok.verify[0].from: is not a mail address; accepted: one bare address such as rotation@example.com"),
    ("verify: [{type: pong}]", "a.yaml:7: ok.verify[0].type: is not a value that is known here; accepted: ping, send, smtp; did you mean ping?"),
    # the rest
    ("on_out_of_band: ignore", "a.yaml:7: ok.on_out_of_band: is not a value that is known here; accepted: alarm, rotate"),
    ("labels: {tier: 1.10}", "a.yaml:7: ok.labels.tier: must be a text; put it in quotes"),
    ("labels: {1: prod}", "a.yaml:7: ok.labels.(a key): is a key that is no text; put it in quotes"),
    ('labels: {"a=b": prod}', "a.yaml:7: ok.labels.(a key): is not a label; accepted: 1 to 63 letters, digits and . _ / -, with a letter or digit at both ends"),
    ("labels: [tier]", "a.yaml:7: ok.labels: must be a mapping of keys and values"),
    ("consumers: [{type: kubernetes-restart, kind: Pod, namespace: a, name: b}]", "a.yaml:7: ok.consumers[0].kind: is not a value that is known here; accepted: Deployment, StatefulSet, DaemonSet"),
    ("consumers: [{type: external-secret, namespace: A, name: b}]", "a.yaml:7: ok.consumers[0].namespace: is not a Kubernetes name; accepted: lower-case letters, digits, hyphens and dots"),
    ('consumers: [{type: webhook, url: "http://mailer.example.com/"}]', "a.yaml:7: ok.consumers[0].url: is not a usable URL; accepted: https://HOST/PATH, or http:// on a loopback address"),
    ('consumers: [{type: webhook, url: "https://me:pass@example.com/"}]', "a.yaml:7: ok.consumers[0].url: has a user name or password in it; accepted: a URL without credentials"),
    ("notify: [{type: slack}]", "a.yaml:7: ok.notify[0].url_file: is missing; accepted: a text such as /run/secrets/slack"),
    ("notify: [{type: slack, url_file: s, on: []}]", "a.yaml:7: ok.notify[0].on: is an empty list; accepted: at least one"),
    ("notify: [{type: slack, url_file: s, on: [fail]}]", "a.yaml:7: ok.notify[0].on[0]: is not a value that is known here; accepted: completed, failed, needs-attention, emergency; did you mean failed?"),
    (f"rehearsal: {{project: {P2}}}", "a.yaml:7: ok.rehearsal.destinations: is missing; accepted: a list of at least one"),
    (f"rehearsal: {{project: {P2}, destinations: [{{type: file, path: r}}], drain: {{min: 1s}}}}", "a.yaml:7: ok.rehearsal.drain: needs `standby` beside it; accepted: both, or neither"),
    (f"rehearsal: {{project: {P2}, destinations: [{{type: file, path: r}}], verify: []}}", "a.yaml:7: ok.rehearsal.verify: is an empty list; accepted: at least one"),
    (f"rehearsal: {{project: {P2}, destinations: [{{type: file, path: r}}], schedule: {{}}}}", "a.yaml:7: ok.rehearsal.schedule.cron: is missing, and so is `every`; accepted: one of the two, such as `every: 30d`"),
    # combinations with the strategy
    (f"rehearsal: {{project: {P2}, destinations: [{{type: file, path: r}}], standby: {{project: 16fd2706-8baf-433b-82eb-8c7fada847da}}}}", "a.yaml:7: ok.rehearsal: has `standby`, which is not for in-place; accepted: only with create-before-revoke"),
    (f"standby: {{project: {P2}}}", "a.yaml:7: ok.standby: is not for in-place; accepted: only with create-before-revoke"),
    ("drain: {min: 2h}", "a.yaml:7: ok.drain: is not for in-place; accepted: only with create-before-revoke or assisted"),
    # YAML
    ("owner: a\n    owner: b", "a.yaml:8: ok.owner: is given twice, first on line 7; accepted: once"),
    ("owner: !!binary aGFsbG8=", "a.yaml:7: ok.owner: has a YAML tag; accepted: plain values"),
    ("owner: !custom x", "a.yaml:7: ok.owner: has a YAML tag; accepted: plain values"),
    ("labels: {<<: {tier: prod}}", "a.yaml:7: ok.labels.(a key): is a merge key, which YAML 1.2 does not have"),
]  # fmt: skip


@pytest.mark.parametrize(("added", "expected"), ADDED)
def test_one_mistake_in_an_optional_key_is_one_problem(problems, added: str, expected: str) -> None:
    """A single mistake in an optional key is told once, at its line and field."""
    assert problems(f"{GOOD}    {added}\n") == [expected]


PAIR = GOOD.replace("in-place", "create-before-revoke")

STRATEGIES = [
    (PAIR, "a.yaml:2: ok.standby: is missing, and create-before-revoke needs it; accepted: `standby: {project: ID}` or `standby: {token: DESTINATION}`"),
    (f"{PAIR}    standby: {{}}\n", "a.yaml:7: ok.standby.token: is missing, and so is `project`; accepted: one of the two"),
    (f"{PAIR}    standby: {{project: {P2}, token: {{type: file, path: y}}}}\n", "a.yaml:7: ok.standby.token: stands beside `project`; accepted: one of the two"),
    (f"{PAIR}    standby: {{project: {P1}}}\n", "a.yaml:7: ok.standby.project: is the same project as ok.project (a.yaml:3); accepted: each project in one place"),
    (f"{PAIR}    standby: {{token: {{type: file, path: y, create: true}}}}\n", "a.yaml:7: ok.standby.token: is only ever read; accepted: no `create` and no `overwrite`"),
    (f"{PAIR}    standby: {{project: {P2}}}\n    drain: {{min: 8d}}\n", "a.yaml:8: ok.drain.max: is shorter than `min`; accepted: at least that (8d)"),
    (f"{PAIR}    standby: {{project: {P2}}}\n    drain: {{max: 59m, min: 1m}}\n", "a.yaml:8: ok.drain.max: is shorter than `quiet`; accepted: at least that (1h)"),
    (f"{PAIR}    standby: {{project: {P2}}}\n    drain: {{quiet: 0s}}\n", "a.yaml:8: ok.drain.quiet: is zero; accepted: a duration above zero, such as 30d"),
    (f"{GOOD.replace('in-place', 'assisted')}    standby: {{project: {P2}}}\n", "a.yaml:7: ok.standby: is not for assisted; accepted: only with create-before-revoke"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), STRATEGIES)
def test_strategy_standby_and_drain_must_fit(problems, text: str, expected: str) -> None:
    """A strategy takes exactly the standby and the drain that it can use."""
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    "added",
    [
        'schedule: {every: 1d, jitter: 1439m, max_age: 86401s, window: {start: "00:00", end: "24:00"}}',
        "schedule: {every: 36500d}",
        'consumers: [{type: webhook, url: "http://127.0.0.1:8080/"}, {type: webhook, url: "http://[::1]/"}]',
        'owner: &who "team"\n    labels: {owner: *who}',
    ],
)
def test_the_right_side_of_each_limit_is_taken(problems, added: str) -> None:
    """What lies just inside a limit is no problem."""
    assert problems(f"{GOOD}    {added}\n") == []


FILES = [
    ("", "a.yaml:1: is empty; accepted: a mapping with the key `policies`"),
    ("# nothing\n", "a.yaml:1: is empty; accepted: a mapping with the key `policies`"),
    ("---\n", "a.yaml:1: is empty; accepted: a mapping with the key `policies`"),
    ("- a\n", "a.yaml:1: is not a mapping; accepted: the key `policies` with a list below it"),
    ("{}\n", "a.yaml:1: policies: is missing; accepted: a list of at least one"),
    ("policies: []\n", "a.yaml:1: policies: is an empty list; accepted: at least one"),
    ("policies:\n", "a.yaml:1: policies: is empty; give it a value or remove it"),
    ("policies:\n  - 5\n", "a.yaml:2: policies[0]: must be a mapping of keys and values"),
    (f"{GOOD}version: 1\n", "a.yaml:7: version: is not a key that is known here; accepted: policies"),
    ("policies: [\n", "a.yaml:2: is not YAML: expected the node content, but found '<stream end>'"),
    ("policies:\n\t- a\n", "a.yaml:2: is not YAML: found character '\\t' that cannot start any token"),
    ("policies: *nobody\n", "a.yaml:1: is not YAML: found undefined alias 'nobody'"),
    ("policies:\n  - \x01\n", "a.yaml:2: holds a character that YAML does not allow"),
    (
        "%YAML 1.1\n---\npolicies: []\n",
        "a.yaml:1: is a YAML directive; accepted: none, policies are YAML 1.2",
    ),
    (f"{GOOD}---\n{GOOD}", "a.yaml:7: begins a second YAML document; accepted: one per file"),
    ("policies: " + "[" * 41 + "\n", "a.yaml:1: is nested too deeply; accepted: 20 levels"),
    ("policies: " + "[" * 30 + "]" * 30 + "\n", "a.yaml:1: is nested too deeply; accepted: 20 levels"),
    ("policies: " + "[\n" * 2000, "a.yaml:1: is nested too deeply; accepted: 20 levels"),
    ("policies: &a [*a]\n", "a.yaml:1: is nested too deeply; accepted: 20 levels"),
]


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_a_file_that_cannot_be_used_says_why(problems, text: str, expected: str) -> None:
    """What is wrong with a file as a whole is told once, with its line."""
    assert problems(text) == [expected]


def test_aliases_cannot_blow_up(problems) -> None:
    """A few lines of nested aliases that stand for billions of values are refused, not expanded."""
    lines = ["policies:", "  - a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    [problem] = problems("\n".join(lines))
    assert problem.endswith("holds more than 100000 values, those of aliases counted; split it")


def test_all_problems_of_all_files_come_at_once(problems) -> None:
    """Problems of several files, of several kinds and across files are told together, in order."""
    found = problems(
        good().replace("strategy: in-place", "strategy: swap"),
        good("other", P2, "y.json") + "    ownr: me\n",
        "policies: [\n",
        good("ok", P1, "x.json"),
    )
    assert [line.split(": ")[0:2] for line in found] == [
        ["a.yaml:4", "ok.strategy"],
        ["b.yaml:7", "other.ownr"],
        ["c.yaml:2", "is not YAML"],
        ["d.yaml:2", "ok.name"],
        ["d.yaml:3", "ok.project"],
        ["d.yaml:6", "ok.destinations[0]"],
    ]


def test_lines_of_spread_out_values_are_their_own(problems) -> None:
    """In block lists and in flow mappings over several lines, the line is that of the very field."""
    text = f"""
    policies:
      - name: ok
        project: {P1}
        strategy: in-place
        destinations:
          - type: file
            path: x
          - {{
              type: vault-kv,
              mount: secret,
              path: x, key: x,
              colour: red,
            }}
        verify: [
          {{type: ping}},
          {{type: pong}},
        ]
    """
    assert [line.split(": ")[0:2] for line in problems(text)] == [
        ["a.yaml:12", "ok.destinations[1].colour"],
        ["a.yaml:16", "ok.verify[1].type"],
    ]


def test_load_raises_all_of_it(folder) -> None:
    """Loading raises one error that holds every problem and the way on."""
    (folder / "a.yaml").write_text(GOOD.replace("in-place", "swap") + "    ownr: me\n", encoding="utf-8")
    with pytest.raises(InvalidPolicies) as raised:
        load_policies([folder / "a.yaml"])
    assert [problem.field for problem in raised.value.problems] == ["ok.strategy", "ok.ownr"]
    assert raised.value.exit_code == 2
    assert "2 problems in the policies, nothing was done" in str(raised.value)


@pytest.mark.parametrize("secret", [TOKEN, TEAM_TOKEN])
@pytest.mark.parametrize(
    ("place", "field"),
    [
        (f"project: {P1}", "project: {secret}"),
        ("key: token", "key: {secret}"),
        ("key: token", "key: '{secret}'"),
        ("key: token", "{secret}: token"),
        ("path: x.json", "path: ./{secret}/x.json"),
        ("strategy: in-place", "strategy: {secret}"),
        ("name: ok", "name: {secret}"),
        ("type: file", "type: {secret}"),
        ("destinations:\n", "{secret}:\n"),
        ("strategy: in-place", "strategy: in-place\n    labels: {{tier: {secret}}}"),
        ("strategy: in-place", "strategy: *{secret}"),
    ],
)
def test_a_pasted_token_is_refused_and_never_shown(problems, place: str, field: str, secret: str) -> None:
    """A Lettermint token anywhere in a policy is a problem, and no message repeats it."""
    found = problems(GOOD.replace(place, field.format(secret=secret), 1))
    assert found
    assert secret not in "\n".join(found)
    if "*" not in field:
        assert any("what looks like a Lettermint token" in line for line in found)


@pytest.mark.parametrize(
    "place", ["name: ok", f"project: {P1}", "strategy: in-place", "type: file", "key: token", "path: x.json"]
)
def test_no_message_repeats_a_foreign_secret(problems, place: str) -> None:
    """A credential of any other shape, put where it does not belong, is not repeated either."""
    secret = "wJalrXUtnFEMI/" + "K7MDENG+bPx=="
    key = place.split(": ", maxsplit=1)[0]
    for value in (secret, f"[{secret}]", f"{{{secret}: 1}}", f'" {secret}"'):
        if value == secret and key in ("key", "path"):
            continue  # any text may be the name of a field or of a file
        found = "\n".join(problems(GOOD.replace(place, f"{key}: {value}", 1)))
        assert found
        assert secret not in found


def test_no_message_repeats_a_known_secret_as_a_key(problems) -> None:
    """A key that is a credential this process knows is not shown."""
    word = "correct" + "horsebattery"
    Secret(word)
    [problem] = problems(f"{GOOD}    {word}: x\n")
    assert word not in problem
    assert problem.startswith("a.yaml:7: ok.(a key): ")
