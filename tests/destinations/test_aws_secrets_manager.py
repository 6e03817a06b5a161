"""What is particular to AWS: lost answers, lag, states that are refused, credentials, and what is never said."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import traceback

import pytest

from rotator.destinations.aws_secrets_manager import AwsSecretsManagerDestination
from rotator.destinations.base import Content, DestinationRefused
from rotator.errors import CredentialRejected, InvalidInput, RotatorError, Unreachable, VersionConflict
from rotator.model import DestinationSpec
from rotator.secret import Secret
from tests.destinations.places import SECRET_ID

OLD = "lm_" + "A" * 32
NEW = "lm_" + "B" * 32
MARK = "lm_" + "C4nary" * 6
WRITES = ["PutSecretValue", "UpdateSecretVersionStage"]


@pytest.fixture
def make(clock):
    """Makes a destination; the fake clock makes its pauses free."""

    def build(*, key=None, create=False, secret_id=SECRET_ID, region="eu-central-1"):
        options = {"secret_id": secret_id, "region": region}
        spec = DestinationSpec(
            "aws-secrets-manager", f"aws:{region}:{secret_id}", key, create, False, options
        )
        return AwsSecretsManagerDestination(spec, clock)

    return build


def attempts(destination, base):
    """Every call of the port that reaches the store."""
    return {
        "preflight": destination.preflight,
        "read": destination.read,
        "read_staged": destination.read_staged,
        "stage": lambda: destination.stage(Secret(NEW), rotation="r1", base=base),
        "publish": lambda: destination.publish(Secret(NEW), rotation="r1", base=base),
        "discard": destination.discard,
        "recall": lambda: destination.recall(lambda _: False),
    }


# --- labels and versions ------------------------------------------------------------------------------


def test_no_write_goes_out_without_a_private_label(aws, make):
    """Every put names its stages, none of them AWS's own, and every read names stage or version."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    destination.preflight()
    destination.stage(Secret(MARK), rotation="r1", base=destination.read())
    destination.publish(Secret(NEW), rotation="r1", base=destination.read())
    destination.recall(lambda _: False)

    puts = [request["VersionStages"] for action, request in aws.calls if action == "PutSecretValue"]
    assert puts == [["ROTATOR_PROBE"], ["ROTATOR_PENDING"], ["ROTATOR_PENDING"]]
    reads = [request for action, request in aws.calls if action == "GetSecretValue"]
    assert all(("VersionStage" in request) != ("VersionId" in request) for request in reads)


def test_after_a_publish_only_awss_own_labels_are_left(aws, make):
    """The private label is taken off, and the former version is AWSPREVIOUS."""
    old = aws.seed(SECRET_ID, OLD)
    destination = make()
    destination.publish(Secret(NEW), rotation="r1", base=destination.read())

    assert aws.labels(SECRET_ID) == {"AWSCURRENT": destination.read().version, "AWSPREVIOUS": old}


def test_the_version_id_says_nothing_about_the_token(aws, make):
    """Another rotation names the same token and base differently; the same rotation the same."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    ids = [
        destination.stage(Secret(NEW), rotation=rotation, base=base).version
        for rotation in ("r1", "r2", "r1")
    ]

    assert ids[0] == ids[2] != ids[1]


def test_a_put_under_our_id_by_somebody_else_is_refused(aws, make):
    """An id of ours with another content is never taken for ours."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    aws.secrets[SECRET_ID].versions[staged.version].string = "changed"
    with pytest.raises(DestinationRefused):
        destination.stage(Secret(NEW), rotation="r1", base=base)


def test_a_label_left_on_the_current_version_is_not_staged(aws, make):
    """A promote that died before the clean-up left a label, not a staged version."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    aws.execute(
        "UpdateSecretVersionStage",
        {
            "SecretId": SECRET_ID,
            "VersionStage": "AWSCURRENT",
            "MoveToVersionId": staged.version,
            "RemoveFromVersionId": base.version,
        },
    )

    assert destination.read_staged() is None
    destination.promote(staged, base=base)
    assert "ROTATOR_PENDING" not in aws.labels(SECRET_ID)


def test_promote_says_where_the_staged_version_is_gone(aws, make):
    """A version that AWS does not keep any more has to be staged again."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    del aws.secrets[SECRET_ID].versions[staged.version]
    with pytest.raises(VersionConflict) as caught:
        destination.promote(staged, base=base)

    assert "Stage it again" in str(caught.value)
    assert aws.text(SECRET_ID) == OLD


def test_promote_succeeds_where_only_the_clean_up_fails(aws, make):
    """Promoted is promoted, whatever becomes of the private label."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    repeated = destination.promote
    repeated(staged, base=base)
    aws.denied.add("UpdateSecretVersionStage")
    repeated(staged, base=destination.read())

    assert aws.text(SECRET_ID) == NEW


# --- lost answers and lag -------------------------------------------------------------------------------


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("kind", ["lost-answer", "drop-before", "error-after", "error-before", "throttle"])
def test_one_fault_at_a_write_is_not_noticed(aws, make, action, kind):
    """A write whose answer got lost is repeated or looked up inside."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    aws.inject(kind, action)
    destination.publish(Secret(NEW), rotation="r1", base=base)

    assert aws.text(SECRET_ID) == NEW
    assert len(aws.secrets[SECRET_ID].versions) == 2


def test_a_move_whose_every_answer_is_lost_is_looked_up(aws, make):
    """Even when no repeat is answered, a look tells that the move was made."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    aws.inject("lost-answer", "UpdateSecretVersionStage", times=3)
    destination.promote(staged, base=base)

    assert aws.text(SECRET_ID) == NEW


@pytest.mark.parametrize("action", WRITES)
def test_a_fault_that_lasts_is_unreachable_and_repeatable(aws, make, action):
    """After three attempts the caller hears to try again, and trying again works."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    aws.inject("drop-before", action, times=3)
    with pytest.raises(Unreachable) as caught:
        destination.publish(Secret(NEW), rotation="r1", base=base)
    assert action in str(caught.value)
    destination.publish(Secret(NEW), rotation="r1", base=base)

    assert aws.text(SECRET_ID) == NEW


def test_throttling_that_lasts_is_unreachable(aws, make):
    """A rate limit is no refusal."""
    aws.seed(SECRET_ID, OLD)
    aws.inject("throttle", times=3)
    with pytest.raises(Unreachable) as caught:
        make().read()
    assert "ThrottlingException" in str(caught.value)


def test_a_dead_endpoint_is_unreachable(aws, make, aws_environment):
    """Nobody listening is said in words, and is repeatable."""
    aws_environment.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    with pytest.raises(Unreachable) as caught:
        make().read()
    assert "secretsmanager:GetSecretValue" in str(caught.value)


@pytest.mark.parametrize("create", [False, True])
def test_lag_after_writes_is_waited_for(aws, make, clock, create):
    """Stale reads after each write delay a publish, and never make it fail or look lost."""
    if not create:
        aws.seed(SECRET_ID, OLD)
    destination = make(create=create)
    base = destination.read()
    aws.stale_reads = 2
    destination.publish(Secret(NEW), rotation="r1", base=base)

    assert aws.text(SECRET_ID) == NEW
    assert 0 < sum(clock.waits) < 20


def test_lag_that_does_not_end_is_said(aws, make, clock):
    """A write that readers do not get to see within seconds is reported as repeatable."""
    aws.seed(SECRET_ID, OLD)
    destination = make()
    base = destination.read()
    aws.stale_reads = 1000
    with pytest.raises(Unreachable) as caught:
        destination.publish(Secret(NEW), rotation="r1", base=base)
    assert "former state" in str(caught.value)
    assert sum(clock.waits) < 20
    aws.stale_reads = 0
    aws.secrets[SECRET_ID].stale_left = 0
    destination.publish(Secret(NEW), rotation="r1", base=base)
    assert aws.text(SECRET_ID) == NEW


def test_latency_is_only_slow(aws, make):
    """A slow answer is an answer."""
    aws.seed(SECRET_ID, OLD)
    aws.latency = 0.05
    destination = make()
    destination.publish(Secret(NEW), rotation="r1", base=destination.read())

    assert aws.text(SECRET_ID) == NEW


def test_creating_is_safe_to_race(aws, make):
    """Many processes that find no secret make one, and one of their tokens is current."""
    tokens = [f"lm_{number:032d}" for number in range(12)]
    bases = {token: make(create=True).read() for token in tokens}
    won = []

    def write(token):
        try:
            make(create=True).publish(Secret(token), rotation=token, base=bases[token])
            won.append(token)
        except VersionConflict:
            pass

    threads = [threading.Thread(target=write, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert won == [aws.text(SECRET_ID)]


# --- states that are refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda secret: setattr(secret, "deleted", 1.0), "scheduled for deletion"),
        (lambda secret: setattr(secret, "rotation_enabled", True), "own rotation"),
        (lambda secret: setattr(secret, "owning_service", "rds"), "managed by another AWS service"),
        (lambda secret: setattr(secret, "primary_region", "us-east-1"), "replica"),
    ],
)
def test_preflight_refuses_a_secret_that_is_not_ours_to_write(aws, make, spoil, word):
    """Deleted, natively rotated, managed and replicated secrets are refused by reason, and untouched."""
    aws.seed(SECRET_ID, OLD)
    spoil(aws.secrets[SECRET_ID])
    with pytest.raises(DestinationRefused) as caught:
        make(create=True).preflight()

    assert word in str(caught.value)
    assert caught.value.remedy
    assert len(aws.secrets[SECRET_ID].versions) == 1


def test_a_deleted_secret_is_refused_by_every_call(aws, make):
    """A secret scheduled for deletion is neither read nor written."""
    aws.seed(SECRET_ID, OLD)
    base = make().read()
    aws.execute("DeleteSecret", {"SecretId": SECRET_ID})
    for name, attempt in attempts(make(create=True), base).items():
        with pytest.raises(DestinationRefused) as caught:
            attempt()
        assert "scheduled for deletion" in str(caught.value), name


def test_an_empty_secret_needs_create(aws, make):
    """A secret that never had a value is refused, or begun where the policy says so."""
    aws.seed(SECRET_ID)
    with pytest.raises(DestinationRefused) as caught:
        make().read()
    assert "never had a value" in str(caught.value)
    destination = make(create=True)
    base = destination.read()
    assert (base.content, base.version) == (Content.MISSING, "no-version")
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    assert aws.text(SECRET_ID) != NEW
    destination.promote(staged, base=base)

    assert aws.text(SECRET_ID) == NEW


def test_a_current_version_without_a_value_is_refused(aws, make):
    """What an unfinished native rotation leaves is said in words."""
    version = aws.seed(SECRET_ID, OLD)
    aws.secrets[SECRET_ID].versions[version].string = None
    with pytest.raises(DestinationRefused) as caught:
        make().read()
    assert "holds no value" in str(caught.value)


def test_binary_is_refused(aws, make):
    """A binary value is neither read nor replaced."""
    aws.seed(SECRET_ID, binary=b"\x00\x01")
    for attempt in (make().read, make().preflight):
        with pytest.raises(DestinationRefused) as caught:
            attempt()
        assert "SecretBinary" in str(caught.value)


@pytest.mark.parametrize(("size", "fits"), [(65_536 - 61, True), (65_536, False)])
def test_preflight_proves_that_a_token_fits(aws, make, size, fits):
    """The size that counts is the one after the merge."""
    aws.seed(SECRET_ID, '{"x": "' + "y" * (size - 100) + '"}')
    destination = make(key="k" * (100 - 64 - 20))
    if fits:
        destination.preflight()
    else:
        aws.seed(SECRET_ID, '{"x": "' + "y" * (size - 20) + '"}')
        with pytest.raises(DestinationRefused) as caught:
            destination.preflight()
        assert "65536" in str(caught.value)


@pytest.mark.parametrize("code", ["DecryptionFailure", "EncryptionFailure"])
def test_a_kms_key_that_cannot_be_used_is_named(aws, make, code):
    """Trouble with the key is told from trouble with the secret."""
    aws.seed(SECRET_ID, OLD)
    aws.kms_error = code
    with pytest.raises(DestinationRefused) as caught:
        make().read()
    assert "KMS key" in str(caught.value)


def test_a_used_up_quota_is_explained(aws, make):
    """Too many versions in a day is refused with what to do about it."""
    for number in range(100):
        aws.seed(SECRET_ID, f"v{number}")
    destination = make()
    with pytest.raises(DestinationRefused) as caught:
        destination.publish(Secret(NEW), rotation="r1", base=destination.read())
    assert "24 hours" in str(caught.value)


# --- preflight ------------------------------------------------------------------------------------------


def test_preflights_of_a_day_share_one_version(aws, make, clock):
    """However often it runs, preflight writes one version a day, and still proves both permissions."""
    aws.seed(SECRET_ID, OLD)
    for _ in range(5):
        make().preflight()
    assert len(aws.secrets[SECRET_ID].versions) == 2
    clock.advance(24 * 3600)
    make().preflight()

    assert len(aws.secrets[SECRET_ID].versions) == 3
    assert set(aws.labels(SECRET_ID)) == {"AWSCURRENT"}


def test_preflight_takes_over_a_label_that_a_crash_left(aws, make, clock):
    """A probe of yesterday that kept its label does not stop today's."""
    aws.seed(SECRET_ID, OLD)
    make().preflight()
    today = next(version for version in aws.secrets[SECRET_ID].versions.values() if not version.labels)
    aws.execute(
        "PutSecretValue",
        {
            "SecretId": SECRET_ID,
            "ClientRequestToken": "x" * 32,
            "SecretString": "p",
            "VersionStages": ["ROTATOR_PROBE"],
        },
    )
    make().preflight()

    assert "ROTATOR_PROBE" not in aws.labels(SECRET_ID)
    assert not today.labels


def test_the_probe_is_no_copy_of_the_secret(aws, make):
    """What preflight writes holds nothing of the value."""
    aws.seed(SECRET_ID, f'{{"a": "{OLD}", "b": "hunter2"}}')
    make(key="a").preflight()

    probes = [version for version in aws.secrets[SECRET_ID].versions.values() if not version.labels]
    assert len(probes) == 1
    assert OLD not in probes[0].string
    assert "hunter2" not in probes[0].string


@pytest.mark.parametrize(
    "action", ["GetSecretValue", "DescribeSecret", "PutSecretValue", "UpdateSecretVersionStage"]
)
@pytest.mark.parametrize("second_time", [False, True])
def test_preflight_names_the_permission_that_is_missing(aws, make, action, second_time):
    """Each permission that a rotation needs is used, today's second time as well, and named when denied."""
    aws.seed(SECRET_ID, OLD)
    if second_time:
        make().preflight()
    aws.denied.add(action)
    with pytest.raises(CredentialRejected) as caught:
        make().preflight()

    assert f"Allow secretsmanager:{action}" in str(caught.value)
    assert "AccessDeniedException" in str(caught.value)


def test_preflight_names_the_permission_to_create(aws, make):
    """With `create: true` a missing secret is made before anything is minted, or the refusal names why not."""
    aws.denied.add("CreateSecret")
    with pytest.raises(CredentialRejected) as caught:
        make(create=True).preflight()

    assert "Allow secretsmanager:CreateSecret" in str(caught.value)


def test_a_denied_kms_key_names_the_kms_actions(aws, make):
    """AWS reports a denied key under the secret's action; the remedy names the key's."""
    aws.seed(SECRET_ID, OLD)
    aws.kms_error = "AccessDeniedException"
    with pytest.raises(CredentialRejected) as caught:
        make().read()
    assert "kms:Decrypt" in str(caught.value)


# --- credentials and region -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "UnrecognizedClientException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
    ],
)
def test_credentials_that_aws_does_not_accept(aws, make, code):
    """An unknown, expired or wrong credential is told from a missing permission."""
    aws.seed(SECRET_ID, OLD)
    base = make().read()
    aws.bad_keys["testing"] = code
    with pytest.raises(CredentialRejected) as caught:
        make().read()
    assert f"{code}: it does not accept our credentials" in str(caught.value)
    aws.bad_keys.clear()
    assert make().read() == base


@pytest.mark.parametrize(
    "name", ["preflight", "read", "read_staged", "stage", "publish", "discard", "recall"]
)
def test_every_call_reports_a_refused_credential(aws, make, name):
    """No call of the port takes a refused credential for an absent secret."""
    aws.seed(SECRET_ID, OLD)
    base = make().read()
    aws.denied.update({"GetSecretValue", "DescribeSecret"})
    with pytest.raises(CredentialRejected):
        attempts(make(), base)[name]()


def test_no_credentials_at_all(aws, make, aws_environment):
    """Where boto3 finds nothing, the error says where it looks."""
    aws_environment.delenv("AWS_ACCESS_KEY_ID")
    aws_environment.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialRejected) as caught:
        make().read()
    assert "NoCredentialsError" in str(caught.value)
    assert caught.value.exit_code == 2


def test_replaced_credentials_are_found_without_a_restart(aws, make, aws_environment, tmp_path):
    """After a refusal the credential file is read again."""
    aws.seed(SECRET_ID, OLD)
    file = tmp_path / "credentials"
    aws_environment.delenv("AWS_ACCESS_KEY_ID")
    aws_environment.delenv("AWS_SECRET_ACCESS_KEY")
    aws_environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    text = "[default]\naws_access_key_id = {}\naws_secret_access_key = x\n"
    file.write_text(text.format("stale"))
    aws.bad_keys["stale"] = "InvalidClientTokenId"
    with pytest.raises(CredentialRejected):
        make().read()
    file.write_text(text.format("fresh"))

    assert make().read().value == Secret(OLD)


def test_no_region_anywhere_is_invalid_input(aws, make):
    """A destination without a region, on a machine without one, is told what to set."""
    with pytest.raises(InvalidInput) as caught:
        make(region=None).read()
    assert "AWS_REGION" in str(caught.value)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_may_come_from_the_environment(aws, make, aws_environment, variable):
    """Both variables that people set are honoured."""
    aws.seed(SECRET_ID, OLD)
    aws_environment.setenv(variable, "eu-west-1")

    assert make(region=None).read().value == Secret(OLD)


def test_the_region_may_come_from_the_arn(aws, make):
    """An ARN names its region, so none has to be said."""
    aws.seed(SECRET_ID, OLD)
    arn = aws.secrets[SECRET_ID].arn

    assert make(region=None, secret_id=arn).read().value == Secret(OLD)


def test_boto3_refusing_the_request_is_invalid_input(aws, make):
    """A secret id that boto3 itself refuses is answered without a call."""
    with pytest.raises(InvalidInput) as caught:
        make(secret_id="").read()
    assert "ParamValidationError" in str(caught.value)
    assert aws.calls == []


def test_threads_share_one_client(aws, make):
    """Many destinations in many threads work at once, each on its own secret."""
    names = [f"prod/{number}" for number in range(16)]
    for name in names:
        aws.seed(name, OLD)
    errors = []

    def work(name):
        try:
            destination = make(secret_id=name)
            destination.preflight()
            destination.publish(Secret(NEW), rotation="r1", base=destination.read())
        except RotatorError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert {aws.text(name) for name in names} == {NEW}


def test_boto3_is_loaded_by_the_first_call_only():
    """Importing and building a destination does not load boto3."""
    program = (
        "import sys\n"
        "from rotator.clock import SystemClock\n"
        "from rotator.destinations.aws_secrets_manager import AwsSecretsManagerDestination\n"
        "from rotator.model import DestinationSpec\n"
        "spec = DestinationSpec('aws-secrets-manager', 'p', options={'secret_id': 'x', 'region': None})\n"
        "AwsSecretsManagerDestination(spec, SystemClock()).describe()\n"
        "assert not [name for name in sys.modules if name.startswith(('boto', 'urllib3'))]\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.fixture
def everything_logged(caplog):
    """All loggers at DEBUG, the libraries' own ones opened wide before each call."""
    caplog.set_level(logging.DEBUG)
    levels = {name: logging.getLogger(name).level for name in ("boto3", "botocore", "urllib3")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield caplog
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_logs_at_debug_hold_no_token(aws, make, everything_logged):
    """A whole life of a token, with faults, leaves no trace of it in any log."""
    aws.seed(SECRET_ID, f'{{"key": "{MARK}", "other": "{MARK}x"}}')
    destination = make(key="key")
    for kind in ("lost-answer", "throttle", "error-after"):
        aws.inject(kind, "PutSecretValue")
        destination.preflight()
        destination.publish(Secret(MARK), rotation=kind, base=destination.read())
    destination.recall(lambda _: False)
    destination.discard()

    logging.getLogger("rotator").debug("the log is open")
    assert "the log is open" in everything_logged.text
    assert MARK not in everything_logged.text


@pytest.mark.parametrize("fault", ["deny", "drop", "unknown-key", "unknown-code", "too-large", "conflict"])
def test_errors_hold_no_token(aws, make, everything_logged, fault):
    """No error, traceback, chained error or attribute of one quotes the value."""
    aws.seed(SECRET_ID, f'{{"key": "{OLD}", "other": "{MARK}"}}')
    destination = make(key="key")
    base = destination.read()
    if fault == "deny":
        aws.denied.add("PutSecretValue")
    elif fault == "drop":
        aws.inject("drop-before", "PutSecretValue", times=3)
    elif fault == "unknown-key":
        aws.bad_keys["testing"] = "ExpiredTokenException"
    elif fault == "unknown-code":
        aws.bad_keys["testing"] = "SomethingNewException"
    elif fault == "too-large":
        aws.seed(SECRET_ID, f'{{"other": "{MARK * 1680}"}}')
        base = destination.read()
    else:
        aws.seed(SECRET_ID, f'{{"other": "{MARK}"}}')
    with pytest.raises(RotatorError) as caught:
        destination.publish(Secret(MARK), rotation="r1", base=base)

    shown = "".join(traceback.format_exception(caught.value)) + everything_logged.text
    error: BaseException | None = caught.value
    while error is not None:
        shown += f"{error!s}{error!r}{vars(error)}"
        error = error.__context__
    assert MARK not in shown


def test_reprs_hold_no_token(aws, make):
    """Readings, staged versions and destinations can be printed."""
    aws.seed(SECRET_ID, MARK)
    destination = make()
    reading = destination.read()
    staged = destination.stage(Secret(MARK + "2"), rotation="r1", base=reading)

    assert MARK not in repr((reading, staged, destination, vars(destination)))
