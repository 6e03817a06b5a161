"""Policies that cannot be used: everything wrong is said at once, and nothing is called."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.refusals import Expected, assert_says, refused, unchanged
from tests.acceptance.site import Site

MEND = "rotator validate"
BROKEN = {
    "broken YAML": ("policies:\n  - name: [\n", ("extra.yaml:", "YAML"), MEND),
    "a key twice": ("policies: []\npolicies: []\n", ("extra.yaml:2", "policies", "twice"), MEND),
    "an unknown key": (
        "policies: []\npolicy: []\n",
        ("extra.yaml:2", "policy", "not a key that is known"),
        MEND,
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_wrong_stops_everything(site: Site, case: str) -> None:
    """One bad file makes every command refuse with 2, naming the file, the line and what is wrong."""
    text, words, remedy = BROKEN[case]
    billing = site.add()
    (site.folder / "policies" / "extra.yaml").write_text(text, encoding="utf-8")
    for argv in (("rotate", "billing", "--yes"), ("run",)):
        refused(site, billing, Expected(2, words, "Nothing was done", remedy), *argv)


def test_all_problems_of_all_files_are_said_at_once(site: Site) -> None:
    """Broken YAML in one file hides neither an unknown key in another nor a bad value in a third."""
    billing = site.add()
    wrong = {**billing.document, "name": "second", "schedule": {"every": "soon"}, "project": billing.project}
    policies = site.folder / "policies"
    (policies / "a.yaml").write_text("policies: [", encoding="utf-8")
    (policies / "b.yaml").write_text("policies: []\nextra: 1\n", encoding="utf-8")
    (policies / "c.yaml").write_text(json.dumps({"policies": [wrong]}), encoding="utf-8")
    with unchanged(billing):
        ended = site.run("rotate", "--all", "--yes")
        validated = site.run("validate", "-o", "json")
    assert (ended.code, validated.code) == (2, 2)
    for words in ("a.yaml", "b.yaml", "extra", "c.yaml", "schedule.every"):
        assert words in ended.errors
    files = {one["file"].rpartition("/")[2] for one in json.loads(validated.output)["problems"]}
    assert files == {"a.yaml", "b.yaml", "c.yaml"}


def test_pair_without_evidence_of_its_active_side_is_refused(site: Site) -> None:
    """Nothing shows whose token the store holds: nothing is minted, and the words say what to do."""
    standby, _ = site.simulator.add_project("standby", team=site.team_token)
    billing = site.add(strategy="create-before-revoke", standby={"project": standby})
    with unchanged(billing):
        ended = site.rotate("billing")
    assert ended.code == 4, ended.errors
    assert "--active" in ended.errors + ended.output
    assert billing.mints == 0


def test_vault_without_its_settings(site: Site) -> None:
    """Settings of Vault are asked for by the first policy that needs them, all at once: exit 2, no other is stopped."""
    vault = {"type": "vault-kv", "mount": "secret", "path": "billing", "key": "token"}
    billing = site.add(destinations=[vault])
    words = ("VAULT_ADDR is not set", "VAULT_TOKEN is not set")
    refused(site, billing, Expected(2, words, "Nothing was done", "ROTATOR_VAULT_AUTH"))
    other = site.add("other")
    with unchanged(billing):
        ended = site.rotate("billing", "other")
    assert ended.code == 3, ended.errors
    assert other.mints == 1


def test_an_unknown_policy_is_a_usage_error(site: Site) -> None:
    """A name that no policy has: exit 2, the nearest name and those there are."""
    billing = site.add()
    expected = Expected(2, ("no policy billnig", "billing"), "Nothing was done", "billing")
    refused(site, billing, expected, "rotate", "billnig", "--yes")


def test_no_policies_at_all(site: Site) -> None:
    """A folder that is not there is a mistake in the settings, not a quiet success."""
    billing = site.add()
    site.environment["ROTATOR_POLICIES"] = str(site.folder / "nowhere")
    with unchanged(billing):
        ended = site.run("run")
    assert_says(ended, Expected(2, ("nowhere",), "Nothing was done", MEND))


def test_nobody_to_ask(site: Site) -> None:
    """Without --yes and without a terminal nothing is rotated: exit 2."""
    billing = site.add()
    expected = Expected(2, ("nobody can be asked",), "Nothing was changed", "--yes")
    refused(site, billing, expected, "rotate", "billing")
