"""Vault KV version 2 as a destination: what the contract suite does not ask; over the strict fake and a real server."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import traceback
from dataclasses import replace

import pytest

from rotator.clock import SystemClock
from rotator.destinations.base import Content, DestinationRefused
from rotator.destinations.vault_errors import Lost
from rotator.destinations.vault_session import VaultSession
from rotator.errors import CredentialRejected, InvalidInput, RotatorError, Unreachable, VersionConflict
from rotator.secret import Secret
from tests.destinations.places import VAULT_PATH, VaultPlace, vault_access
from tests.destinations.vault_servers import FakeServer

OLD = "lm_" + "A" * 32
NEW = "lm_" + "B" * 32
OTHER = "lm_" + "C" * 22
MARK = "lm_" + "LeakMarkerVaultKv" + "0123456789"
SIDE = f"{VAULT_PATH}/rotator-pending"

LEAST = {
    f"data/{VAULT_PATH}": {"create", "read", "update"},
    f"data/{SIDE}": {"create", "read", "update"},
    f"metadata/{SIDE}": {"delete"},
}
"""What a rotation needs, below the mount."""


@pytest.fixture
def sessions():
    made = []
    yield made
    for session in made:
        session.close()


@pytest.fixture
def place(any_vault, sessions):
    """A place of its own on each kind of server, used with all rights."""
    made = VaultPlace(any_vault, any_vault.mount())
    sessions.append(made.session)
    return made


@pytest.fixture
def fake_place(vault, clock, sessions):
    """A place at the strict fake, with a clock that waits for nobody."""
    server = FakeServer(vault)
    made = VaultPlace(server, server.mount(), clock=clock)
    sessions.append(made.session)
    return made


@pytest.fixture
def limited(any_vault, sessions):
    """Makes a place that is used with a token of these rights only, below its mount."""

    def make(rules, **mount):
        name = any_vault.mount(**mount)
        token = any_vault.token({f"{name}/{path}": held for path, held in rules.items()})
        session = VaultSession(vault_access(any_vault.url, token), SystemClock())
        sessions.append(session)
        return VaultPlace(any_vault, name, session=session)

    return make


def publish(destination, token, rotation="r1", base=None):
    destination.publish(Secret(token), rotation=rotation, base=base or destination.read())


def refused(attempt, kind=DestinationRefused):
    with pytest.raises(kind) as caught:
        attempt()
    error = caught.value
    assert type(error) is kind
    assert error.then
    assert error.remedy
    return str(error)


def versions(place, path=VAULT_PATH):
    """Numbers of all versions that the secret ever had since it was made; [] where there is none."""
    status, text = place.call("GET", f"metadata/{path}")
    return sorted(map(int, json.loads(text)["data"]["versions"])) if status == 200 else []


def attempts(destination, base):
    """Every call that needs the secret to be there."""
    return {
        "read": destination.read,
        "preflight": destination.preflight,
        "stage": lambda: destination.stage(Secret(NEW), rotation="r1", base=base),
        "publish": lambda: publish(destination, NEW, base=base),
    }


# --- other fields ----------------------------------------------------------------------------------------

EVERY_TYPE = """{
  "apples": 12345678901234567890, "bananas": 1.50, "cherries": -0.0, "dates": 9007199254740993, "elder": 1e21,
  "figs": true, "grapes": null, "héllo <b>": "\\u00e9 \\u0000 \\ud83d\\ude00 \\"quoted\\" </script> \\\\ \\/",
  "lists": [1, [], {}, {"z": 1, "a": [null, false]}], "maps": {"token": "not ours", "data": {"data": {}}},
  "options": {"cas": 7}, "data": "no", "token": "%s", "version": "", "zero": 0
}"""


def test_fields_of_every_type_are_untouched(place):
    """All that readers get besides our field is the same text before and after, by publish and by promote."""
    place.write(EVERY_TYPE % OLD)
    before = place.text()
    destination = place.destination()
    publish(destination, NEW)
    assert place.text() == before.replace(OLD, NEW)
    base = destination.read()
    destination.promote(destination.stage(Secret(OTHER), rotation="r2", base=base), base=base)

    assert place.text() == before.replace(OLD, OTHER)


def test_what_is_written_is_the_text_that_was_read(place):
    """No number goes through a decoder of ours, which would make 0 of a -0, and other spaces."""
    place.write(EVERY_TYPE % OLD)
    destination = place.destination()
    base = destination.read()
    served = place.text()
    transport, sent = place.session._transport, []
    send = transport.send
    transport.send = lambda *call, **more: (sent.append(more.get("body")), send(*call, **more))[1]
    publish(destination, NEW, base=base)

    assert f'{{"options": {{"cas": 1}}, "data": {served.replace(OLD, NEW)}}}' in sent


@pytest.mark.parametrize("held", ["17", "[1]", '{"a": "b"}', "true"])
def test_a_field_that_is_no_text_is_foreign(place, held):
    """A number, list or map in our field is somebody else's value."""
    place.write(f'{{"token": {held}}}')

    assert place.destination().read().content is Content.FOREIGN


def test_a_null_field_is_missing(place):
    """Null is nothing."""
    place.write('{"token": null}')

    assert place.destination().read().content is Content.MISSING


def test_a_key_of_any_characters(place):
    """The field's name is a name, not a path."""
    place.write('{"a": 1}')
    destination = place.destination(key='z "q" é.b/c')
    publish(destination, NEW)

    assert json.loads(place.text()) == {"a": 1, 'z "q" é.b/c': NEW}
    assert destination.read().value == Secret(NEW)


@pytest.mark.parametrize("path", ["a b/c#d?e%f", "é/ü", "x+y=z,w;v", "a&b:c@d"])
def test_a_path_of_any_characters(place, path):
    """Each is quoted on its way and arrives as it was written."""
    place.path = "x"
    destination = VaultPlace(place.server, place.mount, session=place.session, path=path).destination()
    publish(destination, NEW)
    base = destination.read()
    destination.promote(destination.stage(Secret(OTHER), rotation="r2", base=base), base=base)
    _, text = place.call("GET", "metadata?list=true")

    assert destination.read().value == Secret(OTHER)
    assert json.loads(text)["data"]["keys"] == [path.partition("/")[0] + ("/" if "/" in path else "")]


def test_edits_of_others_are_merged(place):
    """Twenty people who change fields of their own lose nothing to twenty publishes."""
    place.seed(OLD)
    done = threading.Event()

    def edit():
        for number in range(20):
            _, text = place.call("GET", f"data/{VAULT_PATH}")
            found = json.loads(text)["data"]
            body = {
                "options": {"cas": found["metadata"]["version"]},
                "data": {**found["data"], f"n{number}": number},
            }
            while place.call("POST", f"data/{VAULT_PATH}", json.dumps(body))[0] == 400:
                _, text = place.call("GET", f"data/{VAULT_PATH}")
                found = json.loads(text)["data"]
                body["options"]["cas"] = found["metadata"]["version"]
                body["data"] = {**found["data"], f"n{number}": number}
        done.set()

    editor = threading.Thread(target=edit)
    editor.start()
    destination, number = place.destination(), 0
    while not done.is_set() or number < 20:
        number += 1
        token = f"lm_{number:032d}"
        while True:
            try:
                publish(destination, token, rotation=f"r{number}")
                break
            except VersionConflict:
                continue
    editor.join()
    held = json.loads(place.text())

    assert held["token"] == token
    assert [held[f"n{number}"] for number in range(20)] == list(range(20))


def test_readers_never_see_a_half_state(place):
    """Every version that there ever was holds a whole document with one token in it."""
    place.seed(OLD)
    whole = {place.text().replace(OLD, token) for token in (OLD, NEW, OTHER)}
    destination = place.destination()
    destination.preflight()
    base = destination.read()
    destination.promote(destination.stage(Secret(NEW), rotation="r1", base=base), base=base)
    destination.preflight()
    publish(destination, OTHER, "r2")
    destination.discard()
    seen = [place.call("GET", f"data/{VAULT_PATH}?version={number}")[1] for number in versions(place)]

    assert len(seen) == 3
    assert {json.dumps(json.loads(text)["data"]["data"]) for text in seen} == {
        json.dumps(json.loads(text)) for text in whole
    }


# --- missing, deleted, destroyed -------------------------------------------------------------------------


def test_a_deleted_version_reads_as_missing_and_is_the_base(place):
    """Its number is what `cas` must name; what was there before can be had by its number as before."""
    place.seed(OLD)
    place.call("DELETE", f"data/{VAULT_PATH}")
    destination = place.destination(create=True)
    base = destination.read()
    assert (base.content, base.value) == (Content.MISSING, None)
    assert base.version.startswith("1@")
    destination.preflight()
    assert destination.read() == base
    publish(destination, NEW, base=base)

    assert json.loads(place.text()) == {"token": NEW}
    assert versions(place) == [1, 2]
    place.call("POST", f"undelete/{VAULT_PATH}", '{"versions": [1]}')
    assert OLD in place.call("GET", f"data/{VAULT_PATH}?version=1")[1]


@pytest.mark.parametrize("how", ["deleted", "destroyed"])
def test_a_deleted_secret_is_written_only_with_create(place, how):
    """Who deleted it may want it so, and undeleting brings its other fields back: refused with both ways out."""
    place.seed(OLD)
    base = place.destination().read()
    if how == "deleted":
        place.call("DELETE", f"data/{VAULT_PATH}")
    else:
        place.call("PUT", f"destroy/{VAULT_PATH}", '{"versions": [1]}')
    for attempt in attempts(place.destination(create=False), base).values():
        said = refused(attempt)
        assert "deleted or destroyed" in said
        assert "vault kv undelete -versions=1" in said
        assert "create: true" in said
    assert versions(place) == [1]
    destination = place.destination(create=True)
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    destination.promote(staged, base=base)

    assert (place.visible(), versions(place)) == (NEW, [1, 2])


def test_a_version_that_will_be_deleted_later_is_there(place):
    """`delete_version_after` sets a time of deletion that is not yet come."""
    place.call("POST", f"metadata/{VAULT_PATH}", '{"delete_version_after": "1h"}')
    place.seed(OLD)

    assert place.destination(create=False).read().value == Secret(OLD)


def test_metadata_without_a_version_is_a_missing_secret(place):
    """Somebody configured the path before its first value."""
    place.call("POST", f"metadata/{VAULT_PATH}", '{"max_versions": 5}')
    assert "does not exist" in refused(place.destination(create=False).read)
    destination = place.destination(create=True)
    base = destination.read()
    assert base.version is None
    publish(destination, NEW, base=base)

    assert place.visible() == NEW


def test_a_secret_made_anew_is_not_the_one_that_was_read(place):
    """Numbers begin again after the metadata was deleted; a base from before does not fit."""
    place.seed(OLD)
    destination = place.destination()
    base = destination.read()
    place.call("DELETE", f"metadata/{VAULT_PATH}")
    with pytest.raises(VersionConflict):
        publish(destination, NEW, base=base)
    place.seed(OTHER)
    with pytest.raises(VersionConflict):
        publish(destination, NEW, base=base)

    assert (place.visible(), versions(place)) == (OTHER, [1])


def test_recall_passes_over_what_is_deleted(place):
    """Of the former versions the readable ones are asked, newest first, and none that is pruned."""
    place.seed("lm_" + "0" * 32)
    destination = place.destination()
    tokens = [f"lm_{number:032d}" for number in range(1, 14)]
    for number, token in enumerate(tokens):
        publish(destination, token, rotation=f"r{number}")
    place.call("POST", f"delete/{VAULT_PATH}", '{"versions": [12]}')
    asked = []

    assert destination.recall(lambda token: asked.append(token.reveal())) is None
    # Vault keeps ten; the current one and the deleted one are not asked.
    assert asked == [tokens[-2], *reversed(tokens[4:10])] + ([] if len(asked) == 7 else [tokens[3]])


def test_the_current_token_is_no_former_one(place):
    """Somebody changed another field since: the token that readers have is not found behind itself."""
    place.seed(OLD)
    publish(place.destination(), NEW)
    place.edit()
    destination = place.destination()

    assert destination.recall(lambda token: token == Secret(NEW)) is None
    assert destination.recall(lambda token: token == Secret(OLD)) == Secret(OLD)


def test_recall_of_a_deleted_secret(place):
    """What was there before it was deleted can be found."""
    place.seed(OLD)
    place.seed(NEW)
    place.call("DELETE", f"data/{VAULT_PATH}")

    assert place.destination(create=False).recall(lambda token: token == Secret(OLD)) == Secret(OLD)


def test_recall_is_bounded(fake_place, vault):
    """However many versions a mount keeps, at most twenty are read."""
    vault.mount("many", max_versions=100)
    place = VaultPlace(fake_place.server, "many", session=fake_place.session, clock=fake_place.clock)
    for number in range(40):
        place.seed(f"lm_{number:032d}")
    asked = []
    place.destination().recall(lambda token: asked.append(token.reveal()))

    assert asked == [f"lm_{number:032d}" for number in range(38, 18, -1)]


# --- the side secret -------------------------------------------------------------------------------------


def test_a_staged_token_stands_beside_with_the_whole_document(place):
    """Base, rotation and document stand in the side secret; nothing of it is left after the promote."""
    place.seed(OLD)
    destination = place.destination()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    _, text = place.call("GET", f"data/{SIDE}")
    note = json.loads(text)["data"]["data"]

    assert note["document"] == json.loads(place.text()) | {"token": NEW}
    assert (note["base"], note["rotation"], note["version"]) == (base.version, "r1", staged.version)
    destination.promote(staged, base=base)
    assert place.call("GET", f"metadata/{SIDE}")[0] == 404


@pytest.mark.parametrize("end", ["discard", "publish"])
def test_nothing_is_left_beside(place, end):
    """Discarding removes the side secret with its metadata, and so does a later publish."""
    place.seed(OLD)
    destination = place.destination()
    for token in (NEW, OTHER):
        destination.stage(Secret(token), rotation="r1", base=destination.read())
    assert versions(place, SIDE) == [1, 2]
    if end == "discard":
        destination.discard()
    else:
        publish(destination, OTHER)

    assert place.call("GET", f"metadata/{SIDE}")[0] == 404


def test_a_promote_merges_with_what_is_there(place):
    """A token staged on an older version is promoted into the present document, where the base says so."""
    place.seed(OLD)
    destination = place.destination()
    staged = destination.stage(Secret(NEW), rotation="r1", base=destination.read())
    place.edit()
    theirs = place.text()
    destination.promote(staged, base=destination.read())

    assert place.text() == theirs.replace(OLD, NEW)


def test_a_staged_version_that_is_gone_is_a_conflict(place):
    """Somebody removed it, or staged another: not promoted from memory."""
    place.seed(OLD)
    destination = place.destination()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    destination.discard()
    with pytest.raises(VersionConflict, match="gone"):
        destination.promote(staged, base=base)
    destination.stage(Secret(OTHER), rotation="r2", base=base)
    with pytest.raises(VersionConflict, match="gone"):
        destination.promote(staged, base=base)

    assert place.visible() == OLD
    assert destination.read_staged().value == Secret(OTHER)


def test_a_promote_leaves_what_somebody_staged_since(place):
    """A repeat of a promote that was done removes only its own note."""
    place.seed(OLD)
    destination = place.destination()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    destination.promote(staged, base=base)
    later = destination.stage(Secret(OTHER), rotation="r2", base=destination.read())
    destination.promote(staged, base=base)

    assert destination.read_staged() == later


def test_a_deleted_side_secret_holds_nothing(place):
    """A person deleted it the soft way: nothing is staged, and staging works again."""
    place.seed(OLD)
    destination = place.destination()
    base = destination.read()
    destination.stage(Secret(NEW), rotation="r1", base=base)
    place.call("DELETE", f"data/{SIDE}")
    assert destination.read_staged() is None
    destination.preflight()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)

    assert destination.read_staged() == staged


@pytest.mark.parametrize(
    "text",
    ['{"token": "theirs"}', "{}", '{"rotator": "other"}', '{"rotator": 1, "version": 2, "rotation": 3}'],
)
def test_what_others_keep_beside_is_left_alone(place, text):
    """A secret of somebody else's at the side path is neither read as ours nor removed."""
    place.seed(OLD)
    place.call("POST", f"data/{SIDE}", f'{{"data": {text}}}')
    destination = place.destination()
    base = destination.read()
    for attempt in (
        destination.read_staged,
        destination.preflight,
        destination.discard,
        lambda: destination.stage(Secret(NEW), rotation="r1", base=base),
    ):
        assert "rotator-pending" in refused(attempt)

    assert versions(place, SIDE) == [1]


def test_a_publish_does_not_hang_on_the_side_secret(fake_place, vault, caplog):
    """Readers have the token; what stays behind is logged."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    vault.faults.add("error-before", f"*/data/{SIDE}", times=10)
    publish(destination, NEW, base=base)

    assert fake_place.visible() == NEW
    assert "stays behind" in caplog.text


def test_many_stagers_leave_one(place):
    """Staging races like everything else; what is staged in the end is somebody's whole version."""
    place.seed(OLD)
    base = place.destination().read()
    tokens = [f"lm_{number:032d}" for number in range(8)]
    gate = threading.Barrier(len(tokens))

    def stage(token):
        destination = place.destination()
        gate.wait()
        with contextlib.suppress(VersionConflict):
            destination.stage(Secret(token), rotation=token, base=base)

    threads = [threading.Thread(target=stage, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert place.destination().read_staged().value.reveal() in tokens
    assert place.visible() == OLD


# --- preflight -------------------------------------------------------------------------------------------


def test_preflight_leaves_nothing(place):
    """The main secret gets no version, and the side secret is gone with its metadata."""
    place.seed(OLD)
    for _ in range(3):
        place.destination().preflight()

    assert versions(place) == [1]
    assert place.call("GET", f"metadata/{SIDE}")[0] == 404
    assert place.destination().preflight_shows(place.destination().read()) is False


def test_preflight_makes_no_missing_secret(place):
    """It is proved makeable, and readers still find nothing."""
    place.destination(create=True).preflight()

    assert versions(place) == []
    assert place.call("GET", "metadata?list=true")[0] == 404


def test_the_remains_of_a_probe_are_no_staged_token(fake_place, vault):
    """A preflight that died before it cleaned up is cleaned up after by the next one."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    vault.faults.add("error-before", f"*/metadata/{SIDE}", method="DELETE", times=2)
    with pytest.raises(Unreachable):
        destination.preflight()
    assert versions(fake_place, SIDE) == [1]
    assert destination.read_staged() is None
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    assert destination.read_staged() == staged
    destination.discard()
    destination.preflight()

    assert versions(fake_place, SIDE) == []


@pytest.mark.parametrize(
    ("lacking", "path", "capability"),
    [
        ("read", f"data/{VAULT_PATH}", '"create", "read", "update"'),
        ("update", f"data/{VAULT_PATH}", '"create", "read", "update"'),
        ("read", f"data/{SIDE}", '"create", "read", "update"'),
        ("create", f"data/{SIDE}", '"create", "read", "update"'),
        ("delete", f"metadata/{SIDE}", '"delete"'),
    ],
    ids=["main-read", "main-write", "side-read", "side-write", "side-delete"],
)
def test_preflight_finds_each_missing_capability(limited, lacking, path, capability):
    """The path and the capability that the policy lacks are in the error, before anything is minted."""
    place = limited({**LEAST, path: LEAST[path] - {lacking}})
    place.seed(OLD)
    said = refused(place.destination().preflight, CredentialRejected)

    assert f'path "{place.mount}/{path}" {{ capabilities = [{capability}] }}' in said
    assert (place.visible(), versions(place)) == (OLD, [1])


def test_making_a_secret_needs_create(limited):
    """With `update` alone an existing secret is written and a missing one is not."""
    place = limited({**LEAST, f"data/{VAULT_PATH}": {"read", "update"}})
    assert '"create", "read", "update"' in refused(
        place.destination(create=True).preflight, CredentialRejected
    )
    place.seed(OLD)
    place.destination().preflight()


def test_the_least_rights_carry_a_whole_rotation(limited, caplog):
    """Preflight, stage, promote, publish, recall, discard: these capabilities and no others."""
    place = limited(LEAST)
    destination = place.destination(create=True)
    base = destination.read()
    destination.preflight()
    publish(destination, OLD, base=base)
    destination.preflight()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    destination.preflight()
    destination.promote(staged, base=base)
    publish(destination, OTHER, "r2")
    destination.stage(Secret(NEW), rotation="r3", base=destination.read())
    destination.discard()

    assert destination.recall(lambda token: token == Secret(OLD)) == Secret(OLD)
    assert destination.read_staged() is None
    assert "policies: default, " in destination.identity()
    assert "stays behind" not in caplog.text


def test_a_size_that_the_server_refuses_is_found_in_preflight(fake_place, vault):
    """The probe is as large as the merged document."""
    fake_place.write(json.dumps({"token": OLD, "padding": "x" * 5000}))
    sizes = []
    vault.faults.add("error-before", f"*/data/{SIDE}", method="POST", status=413)
    assert "too large" in refused(fake_place.destination().preflight)
    note = fake_place.destination()
    put = note._side.put
    note._side.put = lambda text, **more: (sizes.append(len(text)), put(text, **more))
    note.preflight()

    assert sizes[0] > 5000


def test_a_server_without_check_and_set_is_refused(fake_place, vault):
    """Something that drops the condition is found by the probe, which changes no field even so."""
    fake_place.seed(OLD)
    before = fake_place.text()
    engine = vault._kv(fake_place.mount, "")
    engine._check_cas = lambda *_: None

    assert "check-and-set does not work" in refused(fake_place.destination().preflight)
    assert fake_place.text() == before


# --- mounts ----------------------------------------------------------------------------------------------


def test_cas_required_mounts_work(any_vault, sessions):
    """Every write of ours names its base, so the strictest configuration is fine."""
    place = VaultPlace(any_vault, any_vault.mount(cas_required=True))
    sessions.append(place.session)
    destination = place.destination(create=True)
    destination.preflight()
    publish(destination, OLD)
    base = destination.read()
    for token in (OTHER, NEW):
        staged = destination.stage(Secret(token), rotation="r1", base=base)
    destination.preflight()
    destination.promote(staged, base=base)

    assert place.visible() == NEW


@pytest.mark.parametrize("create", [False, True])
def test_version_1_is_refused_and_not_written(any_vault, sessions, create):
    """A version 1 engine would store our whole request: found before any write, and said."""
    place = VaultPlace(any_vault, any_vault.mount(version=1))
    sessions.append(place.session)
    base = replace(VaultPlace(any_vault, any_vault.mount(), session=place.session).destination().read())
    for attempt in attempts(place.destination(create=create), base).values():
        assert "not KV version 2" in refused(attempt)
    place.call("POST", f"data/{VAULT_PATH}", '{"token": "theirs"}')
    for attempt in attempts(place.destination(create=create), base).values():
        assert "not KV version 2" in refused(attempt)

    assert json.loads(place.call("GET", f"data/{VAULT_PATH}")[1])["data"] == {"token": "theirs"}
    assert json.loads(place.call("GET", "?list=true")[1])["data"]["keys"] == ["data/"]


def test_a_mount_that_is_not_there_is_named(any_vault, sessions):
    """Another error than a missing secret, whatever `create` says."""
    place = VaultPlace(any_vault, "nowhere")
    sessions.append(place.session)
    base = VaultPlace(any_vault, any_vault.mount(), session=place.session).destination().read()
    for attempt in attempts(place.destination(create=True), base).values():
        said = refused(attempt)
        assert "nothing is mounted there" in said
        assert "`mount`" in said


def test_a_page_of_something_else_is_refused(fake_place, vault):
    """An answer that is JSON and no secret's is not a missing secret."""
    call = fake_place.session.call
    fake_place.session.call = lambda one, **more: replace(call(one, **more), text='{"data": {"token": "x"}}')
    vault.mount(fake_place.mount)

    assert "not KV version 2" in refused(fake_place.destination(create=True).read)


def test_a_key_is_needed(fake_place):
    """A secret of Vault is a map; the policy format asks for the key, and so does the class."""
    with pytest.raises(InvalidInput, match="without a `key`"):
        fake_place.destination(key=None)


def test_a_namespace_is_part_of_the_name(fake_place, clock):
    """Who has several sees which one is meant."""
    session = VaultSession(vault_access(fake_place.server.url, "s.x", namespace="team/a"), clock)
    place = VaultPlace(fake_place.server, "secret", session=session, clock=clock)

    assert (
        place.destination().describe() == f"Vault secret secret/{VAULT_PATH} (namespace team/a), field token"
    )


# --- lost answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lost-answer", "error-after", "drop-before", "error-before"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_write_without_an_answer_is_settled(fake_place, vault, kind, times):
    """Sent again, and looked up: executed or not, there is one new version, or an error that says which."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    vault.faults.add(kind, f"*/data/{VAULT_PATH}", method="POST", times=times)
    if times == 2 and kind.endswith("before"):
        with pytest.raises(Lost) as caught:
            publish(destination, NEW, base=base)
        assert "not known" in caught.value.then
        assert fake_place.visible() == OLD
    publish(destination, NEW, base=base)

    assert (fake_place.visible(), versions(fake_place)) == (NEW, [1, 2])


def test_a_lost_answer_and_somebody_elses_write(fake_place, vault):
    """The write was not executed and another one came between: a conflict, and theirs stays."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    vault.faults.add("drop-before", f"*/data/{VAULT_PATH}", method="POST")
    vault.faults.add("call", f"*/data/{VAULT_PATH}", method="POST", action=lambda: fake_place.seed(OTHER))
    with pytest.raises(VersionConflict):
        publish(destination, NEW, base=base)

    assert (fake_place.visible(), versions(fake_place)) == (OTHER, [1, 2])


def test_a_first_write_without_an_answer(fake_place, vault):
    """A missing secret is made once."""
    destination = fake_place.destination(create=True)
    vault.faults.add("lost-answer", f"*/data/{VAULT_PATH}", method="POST")
    publish(destination, NEW)

    assert (fake_place.visible(), versions(fake_place)) == (NEW, [1])


def test_staging_and_cleaning_up_without_answers(fake_place, vault):
    """The side secret's write and removal are repeated as safely as the main one's."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    vault.faults.add("lost-answer", f"*/data/{SIDE}", method="POST")
    vault.faults.add("lost-answer", f"*/metadata/{SIDE}", method="DELETE")
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    assert destination.read_staged() == staged
    destination.promote(staged, base=base)

    assert fake_place.visible() == NEW
    assert versions(fake_place, SIDE) == []


def test_a_note_that_stays_behind_is_not_staged(fake_place, vault, caplog):
    """A promote that could not clean up is still a promote."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    vault.faults.add("error-before", f"*/metadata/{SIDE}", method="DELETE", times=2)
    destination.promote(staged, base=base)

    assert "stays behind" in caplog.text
    assert versions(fake_place, SIDE) == [1]
    assert destination.read_staged() is None
    destination.promote(staged, base=base)
    assert versions(fake_place, SIDE) == []


def test_reads_that_lag_are_waited_for(fake_place, vault):
    """After a write the destination looks until readers get it, on a standby that is behind."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    vault.stale_reads = 3
    publish(destination, NEW, base=base)
    assert 0 < sum(fake_place.clock.waits) < 3
    base = destination.read()
    assert base.value == Secret(NEW)
    staged = destination.stage(Secret(OTHER), rotation="r2", base=base)
    assert destination.read_staged() == staged


def test_lag_that_does_not_end_is_said(fake_place, vault):
    """Repeatable, and settled once readers are up to date."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    vault.stale_reads = 1000
    said = refused(lambda: publish(destination, NEW, base=base), Unreachable)
    assert "standby" in said
    assert sum(fake_place.clock.waits) < 20
    vault.stale_reads = 0
    assert vault.read(fake_place.mount, VAULT_PATH)["token"] == NEW
    for _ in range(1000):
        if destination.read().value == Secret(NEW):
            break
    publish(destination, NEW, base=base)

    assert versions(fake_place) == [1, 2]


def test_a_conflict_behind_a_standby_is_a_conflict(fake_place, vault):
    """Reads still show the base that somebody replaced: the write is refused, and that is what is said."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    vault.stale_reads = 1000
    vault.write(fake_place.mount, VAULT_PATH, {"token": OTHER})
    assert destination.read() == base
    with pytest.raises(VersionConflict):
        publish(destination, NEW, base=base)

    assert vault.read(fake_place.mount, VAULT_PATH) == {"token": OTHER}


# --- the token for Vault in mid-rotation -----------------------------------------------------------------


@pytest.fixture
def short_lived(any_vault, clock, sessions):
    """A place that is used through an AppRole whose tokens live for 4 s and at most 6; and a way to let time pass."""
    name = any_vault.mount()
    rules = {f"{name}/{path}": held for path, held in LEAST.items()}
    where, role_id, secret_id = any_vault.approle(rules, ttl=4, max_ttl=6)
    mine = clock if isinstance(any_vault, FakeServer) else SystemClock()
    access = vault_access(
        any_vault.url,
        auth="approle",
        auth_mount=where,
        role_id=lambda: Secret(role_id),
        secret_id=lambda: Secret(secret_id),
    )
    place = VaultPlace(any_vault, name, session=VaultSession(access, mine), clock=mine)
    sessions.append(place.session)

    def pass_time(seconds):
        any_vault.pass_time(seconds)
        if mine is clock:
            clock.advance(seconds)

    return place, pass_time


@pytest.mark.parametrize("seconds", [3, 7], ids=["renewed", "dead"])
def test_the_token_runs_out_in_the_middle(short_lived, seconds):
    """Between read and publish, and between stage and promote: renewed or logged in anew, and nobody notices."""
    place, pass_time = short_lived
    place.seed(OLD)
    destination = place.destination()
    base = destination.read()
    pass_time(seconds)
    publish(destination, NEW, base=base)
    base = destination.read()
    staged = destination.stage(Secret(OTHER), rotation="r2", base=base)
    pass_time(seconds)
    destination.promote(staged, base=base)

    assert (place.visible(), versions(place)) == (OTHER, [1, 2, 3])
    assert destination.read_staged() is None


def test_revoked_between_the_look_and_the_write(fake_place, vault):
    """A 403 in the very moment of the write: logged in anew, written once."""
    rules = {f"{fake_place.mount}/{path}": held for path, held in LEAST.items()}
    where, role_id, secret_id = fake_place.server.approle(rules)
    access = vault_access(
        vault.url,
        auth="approle",
        auth_mount=where,
        role_id=lambda: Secret(role_id),
        secret_id=lambda: Secret(secret_id),
    )
    session = VaultSession(access, fake_place.clock)
    place = VaultPlace(fake_place.server, fake_place.mount, session=session, clock=fake_place.clock)
    place.seed(OLD)
    destination = place.destination()
    base = destination.read()
    vault.faults.add(
        "call",
        f"*/data/{VAULT_PATH}",
        method="POST",
        action=lambda: vault.expire(session._lease.token.reveal()),
    )
    publish(destination, NEW, base=base)

    assert (place.visible(), versions(place)) == (NEW, [1, 2])


def test_sealed_in_the_middle(fake_place, vault):
    """Between stage and promote: unreachable, and what was staged is promoted when it is back."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    vault.seal()
    assert "sealed" in refused(lambda: destination.promote(staged, base=base), Unreachable)
    vault.unseal()
    destination.promote(staged, base=base)

    assert fake_place.visible() == NEW


def test_sealed_after_the_write(fake_place, vault):
    """The write counted, nobody can read: said as unreachable, and a repeat finds it done."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    base = destination.read()
    vault.faults.add("call", f"*/data/{VAULT_PATH}", method="GET", skip=1, action=vault.seal)
    assert "sealed" in refused(lambda: publish(destination, NEW, base=base), Unreachable)
    vault.unseal()
    publish(destination, NEW, base=base)

    assert versions(fake_place) == [1, 2]


# --- custom metadata -------------------------------------------------------------------------------------


def custom(place):
    return json.loads(place.call("GET", f"metadata/{VAULT_PATH}")[1])["data"]["custom_metadata"]


def test_custom_metadata_tells_where_a_version_is_from(place):
    """Rotation and time are added, entries of others stay, by publish and by promote."""
    place.seed(OLD)
    place.call("POST", f"metadata/{VAULT_PATH}", '{"custom_metadata": {"owner": "team-a"}}')
    destination = place.destination()
    publish(destination, NEW, "r1")
    assert custom(place).keys() == {"owner", "rotator-rotation", "rotator-published-at"}
    assert (custom(place)["owner"], custom(place)["rotator-rotation"]) == ("team-a", "r1")
    base = destination.read()
    destination.promote(destination.stage(Secret(OTHER), rotation="r2", base=base), base=base)

    assert custom(place)["rotator-rotation"] == "r2"
    assert custom(place)["rotator-published-at"].endswith("Z")


def test_custom_metadata_that_is_not_allowed_is_only_logged(limited, caplog):
    """A courtesy: the publish counts, and it is not asked for again."""
    caplog.set_level(logging.INFO)
    place = limited(LEAST)
    place.seed(OLD)
    destination = place.destination()
    publish(destination, NEW)
    publish(destination, OTHER, "r2")

    assert place.visible() == OTHER
    assert caplog.text.count("no custom metadata") == 1
    assert not custom(place)


def test_custom_metadata_of_an_old_server(fake_place, vault, caplog):
    """1.8 knows no PATCH and keeps no custom metadata: logged once."""
    caplog.set_level(logging.INFO)
    vault.old = True
    fake_place.seed(OLD)
    destination = fake_place.destination()
    destination.preflight()
    publish(destination, NEW)
    publish(destination, OTHER, "r2")

    assert fake_place.visible() == OTHER
    assert caplog.text.count("no custom metadata") == 1


def test_custom_metadata_that_fails_for_a_moment_is_tried_again(fake_place, vault):
    """A server that is busy with something else is asked by the next publish."""
    fake_place.seed(OLD)
    destination = fake_place.destination()
    vault.faults.add("rate-limit", f"*/metadata/{VAULT_PATH}")
    publish(destination, NEW)
    assert not custom(fake_place)
    publish(destination, OTHER, "r2")

    assert custom(fake_place)["rotator-rotation"] == "r2"


# --- what leaks ------------------------------------------------------------------------------------------


@pytest.fixture
def everything_logged(caplog):
    """The log at DEBUG, the libraries' own loggers opened as well."""
    for name in (None, "rotator", "urllib3", "requests", "hvac"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def test_logs_at_debug_hold_no_token(fake_place, vault, everything_logged):
    """A whole life of a token, with faults, leaves no trace of it or of other fields in any log."""
    fake_place.write(f'{{"token": "{MARK}", "zzz": "{MARK}x"}}')
    destination = fake_place.destination()
    for number, kind in enumerate(("lost-answer", "rate-limit", "error-after", "drop-before")):
        vault.faults.add(kind, f"*/data/{SIDE}", method="POST")
        vault.faults.add(kind, f"*/metadata/{SIDE}", method="DELETE")
        base = destination.read()
        for attempt in (
            destination.preflight,
            lambda: destination.stage(Secret(f"{MARK}{number}"), rotation="r", base=base),  # noqa: B023
            lambda: publish(destination, f"{MARK}{number}", base=base),  # noqa: B023
        ):
            try:
                attempt()
            except RotatorError:
                continue
    destination.recall(lambda _: False)
    destination.discard()

    logging.getLogger("rotator").debug("the log is open")
    assert "the log is open" in everything_logged.text
    assert MARK not in everything_logged.text
    assert vault.root not in everything_logged.text


FAULTS = {
    "denied": lambda vault, place: vault.expire(place.session._lease.token.reveal()),
    "dropped": lambda vault, place: vault.faults.add("drop-before", "*", times=10),
    "sealed": lambda vault, place: vault.seal(),
    "standby": lambda vault, place: vault.standby(None),
    "broken": lambda vault, place: vault.faults.add("error-before", "*", times=10),
    "unmounted": lambda vault, place: vault._mounts.clear(),
    "changed": lambda vault, place: place.write(f'{{"zzz": "{MARK}"}}'),
    "deleted": lambda vault, place: place.call("DELETE", f"data/{VAULT_PATH}"),
    "too-large": lambda vault, place: vault.faults.add(
        "error-before", "*", method="POST", status=413, times=9
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_hold_no_token(fake_place, vault, everything_logged, fault):
    """No error, traceback, chained error or attribute of one quotes the value, another field, or our token."""
    token = vault.token()
    session = VaultSession(vault_access(vault.url, token), fake_place.clock)
    place = VaultPlace(fake_place.server, fake_place.mount, session=session, clock=fake_place.clock)
    place.write(f'{{"token": "{OLD}", "zzz": "{MARK}x"}}')
    destination = place.destination(create=False)
    base = destination.read()
    FAULTS[fault](vault, place)
    with pytest.raises(RotatorError) as caught:
        publish(destination, MARK, base=base)

    shown = "".join(traceback.format_exception(caught.value)) + everything_logged.text
    error: BaseException | None = caught.value
    while error is not None:
        shown += f"{error!s}{error!r}{vars(error)}"
        error = error.__context__
    assert MARK not in shown
    assert token not in shown


def test_reprs_hold_no_token(fake_place):
    """Readings, staged versions, versions and destinations can be printed."""
    fake_place.seed(MARK)
    destination = fake_place.destination()
    reading = destination.read()
    staged = destination.stage(Secret(MARK + "2"), rotation="r1", base=reading)
    parts = (
        reading,
        staged,
        destination,
        vars(destination),
        destination._note(),
        destination._secret.fetch(),
    )

    assert MARK not in repr(parts)
    assert fake_place.server.root not in repr((parts, vars(fake_place.session)))
