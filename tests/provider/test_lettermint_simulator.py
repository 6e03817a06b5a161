"""The provider and its verifiers against the local Lettermint, which keeps the documented rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rotator.errors import CredentialRejected, EndpointGone, RateLimited, UnclearOutcome
from rotator.model import VerifySpec
from rotator.provider.base import PingAnswer, ProjectNotVisible
from rotator.provider.credential import TeamCredential
from rotator.provider.lettermint import LettermintProvider
from rotator.secret import Secret
from rotator.verifiers.base import Verdict
from rotator.verifiers.ping import PingVerifier
from rotator.verifiers.send import SendVerifier
from tests.provider.conftest import RecordingLimiter
from tests.simulator_fixture import lettermint

NOWHERE = "16fd2706-8baf-433b-82eb-8c7fada847da"
SPEC = VerifySpec("send", sender="rotation@example.com")


@pytest.fixture
def world(clock):
    with lettermint(clock) as simulator:
        yield simulator, simulator.furnish(2)


@pytest.fixture
def seen_with(world, clock) -> Iterator:
    """Makes a provider that sees the world with a team token."""
    simulator, _ = world
    made = []

    def make(token: Secret) -> LettermintProvider:
        made.append(
            LettermintProvider(simulator.url, TeamCredential(lambda: token), RecordingLimiter(), clock)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_whole_rotation(world, seen_with, clock):
    """A mint kills the old token at once; the new one pings, sends, and is shown to be the project's."""
    simulator, furnished = world
    project, old = furnished.projects[0]
    provider = seen_with(furnished.team_token)
    before = provider.project(project)
    assert provider.ping(old) is PingAnswer.ALIVE
    clock.advance(60)
    new = provider.rotate_token(project)
    assert provider.ping(old) is PingAnswer.DEAD
    after = provider.project(project)
    assert after.token_generated_at == new.generated_at != before.token_generated_at
    assert len(simulator.mints(project)) == 1
    assert PingVerifier(provider).verify(new.token, key="k").verdict is Verdict.PASSED
    sender = SendVerifier(provider, SPEC, clock)
    first, second = sender.verify(new.token, key="k"), sender.verify(new.token, key="k")
    assert first == second
    assert (first.verdict, first.project) == (Verdict.PASSED, project)
    assert len(simulator.sends(project)) == 1
    assert sender.verify(old, key="k").verdict is Verdict.NOT_YET


def test_identity_without_the_ability(world, seen_with, clock):
    """A team token that may not read messages still verifies, without an identity."""
    simulator, furnished = world
    _, token = furnished.projects[0]
    provider = seen_with(simulator.add_team_token(abilities=["write:projects"]))
    attempt = SendVerifier(provider, SPEC, clock).verify(token, key="k")
    assert (attempt.verdict, attempt.project) == (Verdict.PASSED, None)


def test_a_sender_that_is_not_verified(world, seen_with, clock):
    """A sender whose domain is not the project's is a failure with the provider's reason."""
    _, furnished = world
    spec = VerifySpec("send", sender="rotation@elsewhere.example")
    attempt = SendVerifier(seen_with(furnished.team_token), spec, clock).verify(
        furnished.projects[0][1], key="k"
    )
    assert attempt.verdict is Verdict.FAILED
    assert "422" in attempt.detail


def test_every_project_is_listed(world, seen_with):
    """All projects of the team are listed, over more than one page."""
    simulator, furnished = world
    ids = {project for project, _ in furnished.projects}
    ids |= {simulator.add_project(f"More {n}")[0] for n in range(101)}
    assert set(seen_with(furnished.team_token).project_ids()) == ids


def test_refusals(world, seen_with):
    """Unknown projects, missing abilities and wrong tokens are told apart."""
    simulator, furnished = world
    project, token = furnished.projects[0]
    with pytest.raises(ProjectNotVisible):
        seen_with(furnished.team_token).rotate_token(NOWHERE)
    reader = seen_with(simulator.add_team_token(abilities=["read:projects"]))
    assert reader.project(project).id == project
    with pytest.raises(CredentialRejected, match="write:projects"):
        reader.rotate_token(project)
    with pytest.raises(CredentialRejected):
        seen_with(token).project(project)
    assert simulator.mints(project) == []


def test_rate_limit(world, seen_with):
    """The fourth rotation within a minute is refused, with a wait, and mints nothing."""
    simulator, furnished = world
    project, _ = furnished.projects[0]
    provider = seen_with(furnished.team_token)
    for _ in range(3):
        provider.rotate_token(project)
    with pytest.raises(RateLimited) as caught:
        provider.rotate_token(project)
    assert 1 <= caught.value.retry_after <= 60
    assert len(simulator.mints(project)) == 3


@pytest.mark.parametrize(
    ("fault", "parameters", "mints"),
    [
        ("lost-answer", {}, 1),
        ("dropped", {}, 0),
        ("error-before", {"page": True}, 0),
        ("error-after", {"page": True}, 1),
        ("truncated", {}, 1),
        ("oversized", {"size": 2 * 1024 * 1024}, 1),
        ("malformed", {}, 1),
    ],
)
def test_faults_are_unclear(world, seen_with, fault, parameters, mints):
    """Whether it was executed or not, an answer that does not show it is unclear."""
    simulator, furnished = world
    project, _ = furnished.projects[0]
    simulator.faults.add("rotate", fault, **parameters)
    with pytest.raises(UnclearOutcome):
        seen_with(furnished.team_token).rotate_token(project)
    assert len(simulator.mints(project)) == mints


def test_content_type_is_not_believed(world, seen_with):
    """A token under a wrong content type is a token."""
    simulator, furnished = world
    project, _ = furnished.projects[0]
    simulator.faults.add("rotate", "wrong-content-type")
    assert simulator.is_alive(seen_with(furnished.team_token).rotate_token(project).token)


@pytest.mark.parametrize("status", [404, 405, 410])
def test_endpoint_gone(world, seen_with, status):
    """When rotate-token is gone and the project is not, that is said, and the secret is left alone."""
    simulator, furnished = world
    project, token = furnished.projects[0]
    simulator.faults.add("rotate", "gone", status=status)
    with pytest.raises(EndpointGone):
        seen_with(furnished.team_token).rotate_token(project)
    assert simulator.is_alive(token)
