"""Credentials and settings that are wrong: exit 2, said before anything is changed."""

from __future__ import annotations

import pytest

from rotator.secret import Secret
from tests.acceptance.refusals import Expected, refused
from tests.acceptance.site import Site

TEAM = "LETTERMINT_TEAM_TOKEN"


def test_a_team_token_that_nobody_knows(site: Site) -> None:
    """Well-formed and refused by the provider (401): says where the right one belongs."""
    billing = site.add()
    site.environment[TEAM] = "lm_team_" + "Zy9" * 12
    refused(site, billing, Expected(2, ("team token", "401"), "Nothing was changed", TEAM))


def test_a_team_token_without_the_ability(site: Site) -> None:
    """A team token that may read and not rotate is refused with 403: nothing was minted, exit 2."""
    billing = site.add()
    limited = site.simulator.add_team_token(team=site.team_token, abilities=["read:projects"])
    site.environment[TEAM] = limited.reveal()
    ended = site.rotate("billing")
    assert ended.code == 2, ended.errors
    assert (billing.mints, billing.stored) == (0, billing.first)
    for words in ("403", "No token was minted", "write:projects"):
        assert words in ended.errors


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("hello", ("is not a Lettermint team token", "lm_team_")),
        ("lm_team_" + "A" * 20 + "!", ("is not a Lettermint team token",)),
        ("lm_" + "A" * 32, ("project token", "lm_team_")),
        ("", ("is not set",)),
        ("lm_team_" + "A" * 20 + " ", ("space",)),
    ],
    ids=["malformed", "a wrong character", "a project token", "missing", "a space at its end"],
)
def test_what_is_no_team_token(site: Site, value: str, words: tuple[str, ...]) -> None:
    """Said from its shape alone, before any call: exit 2, and the value is not repeated."""
    billing = site.add()
    site.environment[TEAM] = value
    seq = len(site.simulator.events)
    ended = refused(site, billing, Expected(2, (TEAM, *words), "", "README"))
    assert "nothing was done" in ended.errors
    assert not value or value.strip() not in ended.errors
    assert len(site.simulator.events) == seq


def test_a_variable_and_its_file(site: Site) -> None:
    """X and X_FILE both set: nobody can tell which was meant, so exit 2."""
    billing = site.add()
    path = site.folder / "team-token"
    path.write_text(site.team_token.reveal(), encoding="utf-8")
    path.chmod(0o600)
    site.environment[f"{TEAM}_FILE"] = str(path)
    refused(
        site,
        billing,
        Expected(2, ("nothing was done", f"{TEAM} and {TEAM}_FILE are both set"), "one of them"),
    )
    # Either alone is fine, an empty variable being an unset one.
    site.environment[TEAM] = ""
    assert site.rotate("billing").code == 0


def test_a_project_of_another_team(site: Site) -> None:
    """A project that the team token does not see: exit 1, says to check the id and the team."""
    stranger = site.simulator.add_team("Stranger")
    billing = site.add(project=site.simulator.add_project(team=stranger))
    expected = Expected(1, (billing.project, "404"), "Nothing was changed", "team token belongs to")
    refused(site, billing, expected)


def test_several_things_wrong_are_said_together(site: Site) -> None:
    """A bad token, a bad limit and a bad lease come in one message."""
    billing = site.add()
    site.environment |= {TEAM: "nonsense", "ROTATOR_ROTATE_LIMIT": "many", "ROTATOR_LEASE": "0s"}
    ended = refused(site, billing, Expected(2, ("3 problems in the settings",), "", "README"))
    for words in (TEAM, "ROTATOR_ROTATE_LIMIT", "ROTATOR_LEASE"):
        assert words in ended.errors


def test_plain_http_off_loopback(site: Site) -> None:
    """The team token is not sent over a network in clear text, whatever the URL says."""
    billing = site.add()
    site.environment["LETTERMINT_API_URL"] = "http://api.example.com/v1"
    refused(site, billing, Expected(2, ("LETTERMINT_API_URL", "unencrypted"), "accepted: https://"))


def test_the_stored_token_belongs_to_another_project(site: Site) -> None:
    """A test send shows whose token it is: a foreign one is refused before its project is rotated."""
    _, foreign = site.simulator.add_project("Other", team=site.team_token)
    billing = site.add(verify=({"type": "send", "from": "rotation@example.com"},))
    projects = [project for project in (billing.project, _) if project]
    site.simulator.add_domain(team=site.team_token, projects=projects)
    billing.seed(foreign)
    expected = Expected(1, ("belongs to project",), "Nothing was changed", "Correct `project`")
    refused(site, billing, expected)
    assert site.simulator.is_alive(Secret(foreign.reveal()))
