"""No name, project or secret belongs to two policies."""

from __future__ import annotations

import pytest

IDS = [f"{n:08d}-0000-4000-8000-000000000000" for n in range(1, 7)]

SAME = "is the same secret as {}; accepted: each secret in one place (`key` does not tell them apart)"
PERHAPS = "may be the same secret as {}; accepted: `region` given in both, and different"


def policy(name: str, project: str, *destinations: str, more: str = "", strategy: str = "in-place") -> str:
    listed = "".join(f"      - {destination}\n" for destination in destinations)
    return f"  - name: {name}\n    project: {project}\n    strategy: {strategy}\n    destinations:\n{listed}{more}"


def file_of(*policies: str) -> str:
    return "policies:\n" + "".join(policies)


def test_names_are_unique_across_files(problems) -> None:
    """The same name in another file is refused, and the first place is named."""
    a = file_of(policy("x", IDS[0], "{type: file, path: a}"))
    b = file_of(policy("x", IDS[1], "{type: file, path: b}"))
    assert problems(a, b) == [
        "b.yaml:2: x.name: is also the name of the policy at a.yaml:2; accepted: a name of its own"
    ]


def test_a_project_is_rotated_by_one_policy(problems) -> None:
    """The same project as `project` and as `standby`, in whatever case, is refused."""
    a = file_of(policy("x", "abcdefab" + IDS[0][8:], "{type: file, path: a}"))
    pair = policy(
        "y",
        IDS[1],
        "{type: file, path: b}",
        strategy="create-before-revoke",
        more=f"    standby: {{project: ABCDEFAB{IDS[0][8:]}}}\n",
    )
    [found] = problems(a, file_of(pair))
    assert found == (
        "b.yaml:7: y.standby.project: is the same project as x.project (a.yaml:3); "
        "accepted: each project in one place"
    )


def test_a_rehearsal_project_is_rotated_by_no_policy(problems) -> None:
    """A rehearsal in a production project is refused, wherever that policy stands; sharing one is not."""
    rehearsal = "    rehearsal: {{project: {}, destinations: [{{type: file, path: {}}}]}}\n"
    a = file_of(
        policy("x", IDS[0], "{type: file, path: a}", more=rehearsal.format(IDS[1], "ra")),
        policy("y", IDS[2], "{type: file, path: b}", more=rehearsal.format(IDS[5], "rb")),
        policy("z", IDS[3], "{type: file, path: c}", more=rehearsal.format(IDS[5], "rc")),
    )
    b = file_of(policy("w", IDS[1], "{type: file, path: d}"))
    [found] = problems(a, b)
    assert found == (
        "a.yaml:7: x.rehearsal.project: is the same project as w.project (b.yaml:3); "
        "accepted: one that no policy rotates"
    )


def test_a_rehearsal_s_standby_is_rotated_by_no_policy_either(problems) -> None:
    """Nor may it be the rehearsal's own project, nor its bridge a secret that something else uses."""

    def rehearsing(name: str, project: str, standby: str) -> str:
        return policy(
            name,
            project,
            f"{{type: file, path: {name}}}",
            strategy="create-before-revoke",
            more=f"    standby: {{token: {{type: file, path: bridge-{name}}}}}\n    rehearsal:\n"
            f"      project: {IDS[5]}\n      destinations: [{{type: file, path: r{name}}}]\n      standby: {standby}\n",
        )

    a = file_of(
        rehearsing("x", IDS[0], f"{{project: {IDS[1]}}}"),
        rehearsing("y", IDS[1], f"{{project: {IDS[5]}}}"),
        rehearsing("z", IDS[2], "{token: {type: file, path: x}}"),
    )
    standby, own, bridge = (one.partition(": ")[2] for one in problems(a))
    rotated = "is the same project as y.project (a.yaml:13); accepted: one that no policy rotates"
    assert standby == f"x.rehearsal.standby.project: {rotated}"
    assert own == "y.rehearsal.standby.project: is the rehearsal's own project; accepted: another one"
    assert bridge == f"z.rehearsal.standby.token: {SAME.format('x.destinations[0] (a.yaml:6)')}"


AWS = "type: aws-secrets-manager, secret_id: "
ARN = "arn:aws:secretsmanager:eu-central-1:{}:secret:{}"

TWINS = [
    ("{type: file, path: a, key: x}", "{type: file, path: ./b/../a, key: y}", SAME),
    (
        "{type: vault-kv, mount: secret, path: a/b, key: x}",
        "{type: vault-kv, mount: /secret/, path: a//b/, key: y}",
        SAME,
    ),
    (f"{{{AWS}a/b}}", f"{{{AWS}a/b, key: y}}", SAME),
    (f"{{{AWS}a, region: eu-west-1}}", f"{{{AWS}a, region: eu-west-1}}", SAME),
    (f"{{{AWS}a, region: eu-west-1}}", f"{{{AWS}a}}", PERHAPS),
    (f"{{{AWS}a}}", f"{{{AWS}a, region: eu-west-1}}", PERHAPS),
    (f"{{{AWS}a, region: eu-central-1}}", f'{{{AWS}"{ARN.format("1" * 12, "a-AbCd12")}"}}', SAME),
    (f'{{{AWS}"{ARN.format("1" * 12, "a-AbCd12")}"}}', f"{{{AWS}a, region: eu-central-1}}", SAME),
    (f'{{{AWS}"{ARN.format("1" * 12, "a-secret")}"}}', f"{{{AWS}a-secret, region: eu-central-1}}", SAME),
    (f'{{{AWS}"{ARN.format("1" * 12, "a-AbCd12")}"}}', f'{{{AWS}"{ARN.format("1" * 12, "a")}"}}', SAME),
    (f'{{{AWS}"{ARN.format("1" * 12, "a-AbCd12")}"}}', f"{{{AWS}a}}", PERHAPS),
]


@pytest.mark.parametrize(("first", "second", "message"), TWINS)
def test_a_secret_is_one_place(problems, first: str, second: str, message: str) -> None:
    """Two ways to write one place are found out, within a policy and across files."""
    within = file_of(policy("x", IDS[0], first, second))
    assert problems(within) == [
        "a.yaml:7: x.destinations[1]: " + message.format("x.destinations[0] (a.yaml:6)")
    ]
    across = (file_of(policy("x", IDS[0], first)), file_of(policy("y", IDS[1], second)))
    assert problems(*across) == [
        "b.yaml:6: y.destinations[0]: " + message.format("x.destinations[0] (a.yaml:6)")
    ]


APART = [
    ("{type: file, path: a}", "{type: file, path: b/a}"),
    ("{type: vault-kv, mount: secret, path: a, key: x}", "{type: vault-kv, mount: kv, path: a, key: x}"),
    (f"{{{AWS}a, region: eu-west-1}}", f"{{{AWS}a, region: eu-west-2}}"),
    (f'{{{AWS}"{ARN.format("1" * 12, "a-AbCd12")}"}}', f"{{{AWS}a, region: eu-west-2}}"),
    (f'{{{AWS}"{ARN.format("1" * 12, "a-AbCd12")}"}}', f'{{{AWS}"{ARN.format("2" * 12, "a-AbCd12")}"}}'),
    (f"{{{AWS}a, region: eu-west-1}}", "{type: vault-kv, mount: a, path: a, key: x}"),
]


@pytest.mark.parametrize(("first", "second"), APART)
def test_different_secrets_are_different_places(problems, first: str, second: str) -> None:
    """Another region, account, mount, folder or store makes another place."""
    assert problems(file_of(policy("x", IDS[0], first, second))) == []


def test_links_do_not_hide_that_two_files_are_one(problems, folder) -> None:
    """A destination behind a link is the file that the link leads to."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    text = file_of(policy("x", IDS[0], "{type: file, path: real/a}", "{type: file, path: link/a}"))
    assert problems(text) == ["a.yaml:7: x.destinations[1]: " + SAME.format("x.destinations[0] (a.yaml:6)")]


def test_bridges_and_rehearsals_are_places_too(problems) -> None:
    """The bridge token's secret and a rehearsal's destinations are compared with all others."""
    text = file_of(
        policy(
            "x",
            IDS[0],
            "{type: file, path: a}",
            strategy="create-before-revoke",
            more="    standby: {token: {type: file, path: a, key: bridge}}\n"
            f"    rehearsal: {{project: {IDS[1]}, destinations: [{{type: file, path: a}}]}}\n",
        )
    )
    first = SAME.format("x.destinations[0] (a.yaml:6)")
    assert problems(text) == [
        f"a.yaml:7: x.standby.token: {first}",
        f"a.yaml:8: x.rehearsal.destinations[0]: {first}",
    ]


def test_another_mistake_hides_no_twin(problems) -> None:
    """Policies that are wrong in other ways are still compared by what is right in them."""
    a = file_of(policy("x", IDS[0], "{type: file, path: a}", strategy="swap"))
    b = file_of(policy("y", IDS[0], "{type: file, path: a}", "{type: s3}"))
    assert [line.split(": ")[1] for line in problems(a, b)] == [
        "x.strategy",
        "y.project",
        "y.destinations[0]",
        "y.destinations[1].type",
    ]


def test_a_short_drain_is_a_warning(warnings) -> None:
    """`drain.min` under an hour warns, an hour does not; the policy is used all the same."""
    head = policy(
        "x",
        IDS[0],
        "{type: file, path: a}",
        strategy="create-before-revoke",
        more=f"    standby: {{project: {IDS[1]}}}\n",
    )
    [warning] = warnings(file_of(head + "    drain: {min: 59m}\n"))
    assert (warning.line, warning.field) == (8, "x.drain.min")
    assert warning.message.startswith("is under 1h; ")
    assert warnings(file_of(head + "    drain: {min: 1h}\n")) == ()
    assert warnings(file_of(head)) == ()


def test_a_file_for_everybody_is_a_warning(warnings) -> None:
    """A mode that lets every user of the machine read the token warns; one for a group does not."""
    [warning] = warnings(file_of(policy("x", IDS[0], '{type: file, path: a, mode: "0644"}')))
    assert str(warning) == "a.yaml:6: x.destinations[0].mode: lets every user of this machine read the token"
    assert warnings(file_of(policy("x", IDS[0], "{type: file, path: a, mode: 0640}"))) == ()
