"""The strict fake keeps AWS's documented rules; each row of the measured table is one test."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

NAME = "prod/x"


@pytest.fixture
def client(aws):
    """A plain client without retries, as somebody else would use it."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 1})
    made = boto3.client("secretsmanager", region_name="eu-central-1", config=config)
    yield made
    made.close()


def token():
    return str(uuid.uuid4())


def code_of(call, **parameters):
    """The error code that a call gets, and that it came with HTTP status 400."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"]


def put(client, text, stages=("S",), request_token=None):
    request_token = request_token or token()
    client.put_secret_value(
        SecretId=NAME, ClientRequestToken=request_token, SecretString=text, VersionStages=list(stages)
    )
    return request_token


def read(client, stage="AWSCURRENT"):
    return client.get_secret_value(SecretId=NAME, VersionStage=stage)["SecretString"]


def test_create_repeats_only_with_the_same_token_and_value(client):
    """CreateSecret with the same token is a no-op for the same value, else the secret exists already."""
    same = token()
    for _ in range(2):
        client.create_secret(Name=NAME, ClientRequestToken=same, SecretString="a")

    assert (
        code_of(client.create_secret, Name=NAME, ClientRequestToken=same, SecretString="b")
        == "ResourceExistsException"
    )
    assert code_of(client.create_secret, Name=NAME, SecretString="a") == "ResourceExistsException"
    assert read(client) == "a"


@pytest.mark.parametrize("stage", ["S", "AWSPENDING"])
def test_a_version_never_changes(aws, client, stage):
    """PutSecretValue with the same token is a no-op for the same value, and refused for another one."""
    aws.seed(NAME, "old")
    version = put(client, "a", [stage])
    put(client, "a", [stage], version)

    refused = code_of(
        client.put_secret_value,
        SecretId=NAME,
        ClientRequestToken=version,
        SecretString="b",
        VersionStages=[stage],
    )
    assert refused == "ResourceExistsException"
    assert read(client, stage) == "a"


def test_a_repeated_put_does_not_bring_a_label_back(aws, client):
    """The no-op really does nothing: a label taken off since stays off."""
    aws.seed(NAME, "old")
    version = put(client, "a")
    client.update_secret_version_stage(SecretId=NAME, VersionStage="S", RemoveFromVersionId=version)
    put(client, "a", request_token=version)

    assert "S" not in aws.labels(NAME)


def test_a_label_moves_off_the_other_version(aws, client):
    """A label is on one version at a time, and moving a private one leaves the current version alone."""
    aws.seed(NAME, "old")
    put(client, "a")
    second = put(client, "b")

    assert aws.labels(NAME)["S"] == second
    assert read(client) == "old"


def test_the_first_version_becomes_current_whatever_was_asked(aws, client):
    """An empty secret makes its first version current even for a private label."""
    aws.seed(NAME)
    assert (
        code_of(client.get_secret_value, SecretId=NAME, VersionStage="AWSCURRENT")
        == "ResourceNotFoundException"
    )
    version = put(client, "first")

    assert aws.labels(NAME) == {"AWSCURRENT": version, "S": version}


def test_a_put_without_labels_becomes_current(aws, client):
    """Without VersionStages the new version is current at once, and the old one previous."""
    old = aws.seed(NAME, "old")
    new = aws.seed(NAME, "new")

    assert aws.labels(NAME) == {"AWSCURRENT": new, "AWSPREVIOUS": old}


def test_moving_current_needs_the_right_holder(aws, client):
    """RemoveFromVersionId is required and compared: the move is a compare-and-set."""
    old = aws.seed(NAME, "old")
    new = put(client, "new")
    move = client.update_secret_version_stage
    wrong = {"SecretId": NAME, "VersionStage": "AWSCURRENT", "MoveToVersionId": new}

    assert code_of(move, **wrong) == "InvalidParameterException"
    assert code_of(move, **wrong, RemoveFromVersionId=new) == "InvalidParameterException"
    assert (
        code_of(move, **{**wrong, "MoveToVersionId": token()}, RemoveFromVersionId=old)
        == "ResourceNotFoundException"
    )
    assert read(client) == "old"
    move(**wrong, RemoveFromVersionId=old)
    assert client.get_secret_value(SecretId=NAME)["SecretString"] == "new"
    assert read(client, "AWSPREVIOUS") == "old"
    assert code_of(move, **wrong, RemoveFromVersionId=old) == "InvalidParameterException"


def test_after_a_move_a_default_put_leaves_one_current_version(aws, client):
    """The label stays on one version whichever way it is moved next."""
    old = aws.seed(NAME, "old")
    new = put(client, "new")
    client.update_secret_version_stage(
        SecretId=NAME, VersionStage="AWSCURRENT", MoveToVersionId=new, RemoveFromVersionId=old
    )
    third = aws.seed(NAME, "third")

    assert aws.labels(NAME) == {"AWSCURRENT": third, "AWSPREVIOUS": new, "S": new}


def test_current_cannot_be_removed(aws, client):
    """AWSCURRENT is moved or left, never taken away; a label that is elsewhere is not taken off."""
    old = aws.seed(NAME, "old")
    update = client.update_secret_version_stage

    assert (
        code_of(update, SecretId=NAME, VersionStage="AWSCURRENT", RemoveFromVersionId=old)
        == "InvalidParameterException"
    )
    assert (
        code_of(update, SecretId=NAME, VersionStage="S", RemoveFromVersionId=old)
        == "InvalidParameterException"
    )
    assert code_of(update, SecretId=NAME, VersionStage="S") == "InvalidParameterException"
    assert read(client) == "old"


def test_of_sixteen_movers_one_wins(aws, client):
    """Racing moves from one holder: one succeeds."""
    old = aws.seed(NAME, "old")
    versions = [put(client, f"v{number}") for number in range(16)]
    won = []

    def move(version):
        try:
            client.update_secret_version_stage(
                SecretId=NAME, VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=old
            )
            won.append(version)
        except ClientError:
            pass

    threads = [threading.Thread(target=move, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert won == [aws.labels(NAME)["AWSCURRENT"]]


def test_unlabelled_versions_are_hidden_and_can_be_labelled_again(aws, client):
    """Describe and list show labelled versions only, unless deprecated ones are asked for."""
    old = aws.seed(NAME, "old")
    bare = put(client, "a")
    client.update_secret_version_stage(SecretId=NAME, VersionStage="S", RemoveFromVersionId=bare)

    assert client.describe_secret(SecretId=NAME)["VersionIdsToStages"] == {old: ["AWSCURRENT"]}
    shown = client.list_secret_version_ids(SecretId=NAME)["Versions"]
    assert [version["VersionId"] for version in shown] == [old]
    listed = client.list_secret_version_ids(SecretId=NAME, IncludeDeprecated=True, MaxResults=1)
    rest = client.list_secret_version_ids(
        SecretId=NAME, IncludeDeprecated=True, NextToken=listed["NextToken"]
    )
    assert {version["VersionId"] for version in listed["Versions"] + rest["Versions"]} == {old, bare}
    client.update_secret_version_stage(SecretId=NAME, VersionStage="S", MoveToVersionId=bare)
    assert read(client, "S") == "a"


@pytest.mark.parametrize(("size", "accepted"), [(65_536, True), (65_537, False)])
def test_size_limit(aws, client, size, accepted):
    """A value has at most 65,536 bytes."""
    aws.seed(NAME, "old")
    if accepted:
        put(client, "x" * size)
    else:
        with pytest.raises(ClientError) as caught:
            put(client, "x" * size)
        assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(("count", "accepted"), [(20, True), (21, False)])
def test_label_limit(aws, client, count, accepted):
    """A version has at most 20 labels."""
    aws.seed(NAME, "old")
    version = put(client, "a", [f"S{number}" for number in range(19)])
    move = {"SecretId": NAME, "MoveToVersionId": version}
    for number in range(19, count - 1):
        client.update_secret_version_stage(**move, VersionStage=f"S{number}")
    last = {**move, "VersionStage": f"S{count - 1}"}
    if accepted:
        client.update_secret_version_stage(**last)
    else:
        assert code_of(client.update_secret_version_stage, **last) == "LimitExceededException"


@pytest.mark.parametrize(("hours", "accepted"), [(23, False), (25, True)])
def test_versions_are_pruned_after_a_day(aws, client, hours, accepted):
    """Above 100 versions the unlabelled ones go, but none younger than 24 hours."""
    for number in range(100):
        aws.seed(NAME, f"v{number}")
    aws.age(hours)
    if accepted:
        put(client, "one more")
        assert len(aws.secrets[NAME].versions) == 100
        assert read(client) == "v99"
    else:
        with pytest.raises(ClientError) as caught:
            put(client, "one more")
        assert caught.value.response["Error"]["Code"] == "LimitExceededException"


def test_text_and_binary_exclude_one_another(aws, client):
    """A version holds one of the two."""
    aws.seed(NAME, "old")
    both = {"SecretString": "a", "SecretBinary": b"b"}

    assert code_of(client.put_secret_value, SecretId=NAME, **both) == "InvalidParameterException"
    assert code_of(client.put_secret_value, SecretId=NAME) == "InvalidParameterException"


def test_a_secret_marked_deleted_takes_nothing(aws, client):
    """Until it is restored it can be described only."""
    old = aws.seed(NAME, "old")
    client.delete_secret(SecretId=NAME)

    assert code_of(client.put_secret_value, SecretId=NAME, SecretString="a") == "InvalidRequestException"
    assert code_of(client.get_secret_value, SecretId=NAME) == "InvalidRequestException"
    assert code_of(client.create_secret, Name=NAME, SecretString="a") == "InvalidRequestException"
    move = {"SecretId": NAME, "VersionStage": "S", "MoveToVersionId": old}
    assert code_of(client.update_secret_version_stage, **move) == "InvalidRequestException"
    assert "DeletedDate" in client.describe_secret(SecretId=NAME)
    client.restore_secret(SecretId=NAME)
    assert read(client) == "old"


def test_a_missing_secret_is_status_400(client):
    """ResourceNotFoundException comes with 400, not with 404."""
    assert code_of(client.describe_secret, SecretId=NAME) == "ResourceNotFoundException"


def test_version_and_label_must_agree(aws, client):
    """Asking for a version by id and by a label that it does not have is an error."""
    old = aws.seed(NAME, "old")
    wanted = {"SecretId": NAME, "VersionId": old, "VersionStage": "AWSPREVIOUS"}

    assert code_of(client.get_secret_value, **wanted) == "InvalidRequestException"


def test_secrets_are_found_by_arn(aws, client):
    """A whole ARN, and one without its random tail, name the secret."""
    aws.seed(NAME, "old")
    arn = aws.secrets[NAME].arn

    assert client.get_secret_value(SecretId=arn)["SecretString"] == "old"
    assert client.get_secret_value(SecretId=arn[:-7])["SecretString"] == "old"


def test_stale_reads_end(aws, client):
    """After a write so many reads still see the state before it."""
    aws.seed(NAME, "old")
    aws.stale_reads = 2
    aws.seed(NAME, "new")

    assert [read(client) for _ in range(3)] == ["old", "old", "new"]


@pytest.mark.parametrize(
    ("kind", "error", "executed"),
    [
        ("throttle", "ThrottlingException", False),
        ("error-before", "InternalServiceError", False),
        ("error-after", "InternalServiceError", True),
        ("drop-before", None, False),
        ("lost-answer", None, True),
    ],
)
def test_faults(aws, client, kind, error, executed):
    """Each fault hits one call of its action, and says truly whether the call was executed."""
    aws.seed(NAME, "old")
    aws.inject(kind, "PutSecretValue")
    read(client)
    with pytest.raises(ClientError if error else ConnectionClosedError) as caught:
        put(client, "a")

    assert error is None or caught.value.response["Error"]["Code"] == error
    assert ("S" in aws.labels(NAME)) is executed
    put(client, "b")


def test_denied_actions_and_unknown_keys(aws, client):
    """A denied action is answered by name; an unknown access key gets the code asked for."""
    aws.seed(NAME, "old")
    aws.denied.add("PutSecretValue")
    assert code_of(client.put_secret_value, SecretId=NAME, SecretString="a") == "AccessDeniedException"
    aws.bad_keys["testing"] = "UnrecognizedClientException"
    assert code_of(client.describe_secret, SecretId=NAME) == "UnrecognizedClientException"


def test_it_runs_alone(aws_environment):
    """Started as a program it prints its URL and serves until it is stopped."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.destinations.strict_secrets_manager", "--port", "0"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = json.loads(process.stdout.readline())["url"]
            other = boto3.client("secretsmanager", region_name="eu-central-1", endpoint_url=url)
            other.create_secret(Name=NAME, SecretString="a")
            assert other.get_secret_value(SecretId=NAME)["SecretString"] == "a"
            other.close()
        finally:
            process.terminate()
