"""The measured table, row by row, over the strict fake; and over a real server where VAULT_ADDR names one."""

from __future__ import annotations

import threading

import hvac
import hvac.exceptions
import pytest

from tests.destinations.vault_servers import NO_HANDLER, Caller

DENIED = ["permission denied"]
LACKS_POLICY = ["1 error occurred:\n\t* permission denied\n\n"]
MISMATCH = ["check-and-set parameter did not match the current version"]
REQUIRED = ["check-and-set parameter required for this call"]
EVERYTHING = {"read", "create", "update", "delete", "list", "patch"}


@pytest.fixture
def server(any_vault):
    """The fake, and then the real one."""
    return any_vault


@pytest.fixture
def call(server):
    """Raw calls with all rights."""
    caller = Caller(server.url, server.root)
    yield caller
    caller.close()


@pytest.fixture
def kv(server):
    """A version 2 mount of its own."""
    return server.mount()


def put(call, kv, data=None, cas=None, path="x"):
    body = {"data": {"a": 1} if data is None else data}
    return call("POST", f"{kv}/data/{path}", body if cas is None else {**body, "options": {"cas": cas}})


# --- data: read and write -------------------------------------------------------------------------


def test_what_is_not_there_is_404_without_a_text(call, kv):
    """A missing path, a version never written, and missing metadata: 404 and an empty list of errors."""
    put(call, kv)
    for path in ("data/nothing", "data/x?version=2", "metadata/nothing", "data/x/deeper"):
        reply = call("GET", f"{kv}/{path}")
        assert (reply.status, reply.body) == (404, {"errors": []})


def test_a_write_tells_its_version(call, kv):
    """The answer to a write holds what there is to know of the version, and a read says the same."""
    first = put(call, kv, {"a": "b"}, cas=0)
    assert first.status == 200
    assert first.data["created_time"].endswith("Z")
    expected = {"deletion_time": "", "destroyed": False, "version": 1, "custom_metadata": None}
    assert {name: first.data[name] for name in expected} == expected

    assert put(call, kv, {"a": "c"}, cas=1).data["version"] == 2
    assert call("GET", f"{kv}/data/x").data["data"] == {"a": "c"}
    former = call("GET", f"{kv}/data/x?version=1")
    assert former.data == {"data": {"a": "b"}, "metadata": first.data}


@pytest.mark.parametrize("cas", [0, 1, 3, -1, "1", None, True])
def test_a_wrong_cas_is_refused(call, kv, cas):
    """Anything but the current version's number, with an existing path: 400, and nothing changes."""
    put(call, kv)
    put(call, kv, {"a": 2})
    body = {"data": {"a": 3}, "options": {"cas": cas}}
    reply = call("POST", f"{kv}/data/x", body)

    assert (reply.status, reply.errors) == (400, MISMATCH)
    assert call("GET", f"{kv}/data/x").data["data"] == {"a": 2}


def test_a_cas_on_a_missing_path_must_be_zero(call, kv):
    """Any other number is refused before there is a first version; null counts as zero."""
    reply = put(call, kv, cas=1)

    assert (reply.status, reply.errors) == (400, MISMATCH)
    assert call("POST", f"{kv}/data/x", {"data": {}, "options": {"cas": None}}).data["version"] == 1


@pytest.mark.parametrize("cas", ["one", 1.0, {}])
def test_a_cas_that_is_no_whole_number_is_refused(call, kv, cas):
    """It is another refusal than a cas that does not match; a text of digits would do."""
    put(call, kv)
    reply = put(call, kv, cas=cas)

    assert (reply.status, reply.errors) == (400, ["error parsing check-and-set parameter"])
    assert put(call, kv, cas="1").data["version"] == 2


def test_a_mount_may_require_cas(server, call):
    """Without it 400; with it the write goes on."""
    kv = server.mount(cas_required=True)
    reply = put(call, kv)

    assert (reply.status, reply.errors) == (400, REQUIRED)
    assert put(call, kv, cas=0).status == 200


def test_a_path_may_require_cas(call, kv):
    """Metadata may ask for it before there is a first version; other paths of the mount do without."""
    assert call("POST", f"{kv}/metadata/x", {"cas_required": True}).status == 204
    assert call("GET", f"{kv}/data/x").body == {"errors": []}
    reply = put(call, kv)

    assert (reply.status, reply.errors) == (400, REQUIRED)
    assert put(call, kv, cas=0).data["version"] == 1
    assert put(call, kv, path="y").status == 200


@pytest.mark.parametrize("body", [{}, None, {"options": {"cas": 0}}, {"a": "b"}])
def test_a_write_without_data_is_refused(call, kv, body):
    """The fields go below `data`."""
    reply = call("POST", f"{kv}/data/x", body)
    assert (reply.status, reply.errors) == (400, ["no data provided"])


@pytest.mark.parametrize("data", [None, {}])
def test_no_fields_are_fields_enough(call, kv, data):
    """Null and an empty object are versions too, and read with 200 as what they are."""
    assert call("POST", f"{kv}/data/x", {"data": data}).status == 200
    reply = call("GET", f"{kv}/data/x")

    assert (reply.status, reply.data["data"]) == (200, data)
    assert reply.data["metadata"]["deletion_time"] == ""
    patched = call("PATCH", f"{kv}/data/x", {"data": {"a": 1}})
    assert patched.status == (500 if data is None else 200)


@pytest.mark.parametrize("data", ["text", [1], 5])
def test_data_must_be_an_object(server, call, kv, data):
    """Anything else is refused even before permission is looked at."""
    nobody = server.token({})
    for token in (server.root, nobody):
        reply = call("POST", f"{kv}/data/x", {"data": data}, token=token)
        assert reply.status == 400
        assert reply.errors[0].startswith('error converting input for field "data":')


@pytest.mark.parametrize("raw", [b"{", b"[1]", b'{"data": {"a": NaN}}', b'{"data": {"a": 1E400}}'])
def test_a_body_must_be_json(call, kv, raw):
    """Half an object, no object, and numbers that a double cannot hold are refused."""
    reply = call("POST", f"{kv}/data/x", raw=raw)
    assert reply.status == 400
    assert reply.errors[0].startswith("failed to decode JSON input:")


def test_fields_keep_their_kinds(call, kv):
    """Every kind of JSON value comes back as it went in, nested or not."""
    data = {
        "text": "<&>\u2028\n\0ü\U0001f600",
        "number": 12,
        "fraction": 1.25,
        "yes": True,
        "nothing": None,
        "list": [1, {"a": []}],
        "object": {"b": {}, "a": ""},
        "": "no name",
    }
    put(call, kv, data)
    assert call("GET", f"{kv}/data/x").data["data"] == data


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1.50", 1.5),
        ("1.0", 1),
        ("1E5", 100_000),
        ("9007199254740991", 9007199254740991),
        ("9007199254740993", 9007199254740992),
        ("12345678901234567890", 12345678901234567000),
        ("100000000000000000000000", 1e23),
        ("1e-7", 1e-7),
        ('"\\ud800x"', "\ufffdx"),
    ],
)
def test_numbers_are_doubles_on_the_way_back(call, kv, written, read):
    """The server stores what it was given and reads numbers as doubles; half a surrogate pair is lost."""
    assert call("POST", f"{kv}/data/x", raw=b'{"data": {"a": %s}}' % written.encode()).status == 200
    got = call("GET", f"{kv}/data/x").data["data"]["a"]

    assert got == read
    assert type(got) is type(read)


def test_fields_come_back_sorted(call, kv):
    """The order of fields is not kept; of two fields with one name the last one stays."""
    call("POST", f"{kv}/data/x", raw=b'{"data": {"b": 1, "a": 1, "b": 2}}')
    assert list(call("GET", f"{kv}/data/x").data["data"].items()) == [("a", 1), ("b", 2)]


def test_of_fifty_writers_with_one_cas_one_wins(call, kv, server):
    """Exactly one 200, and 400 for all others."""
    put(call, kv)
    start, statuses = threading.Barrier(50), []

    def write(number):
        caller = Caller(server.url, server.root)
        caller("GET", "sys/health")
        start.wait()
        statuses.append((put(caller, kv, {"a": number}, cas=1).status, number))
        caller.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(status for status, _ in statuses) == [200] + [400] * 49
    winner = next(number for status, number in statuses if status == 200)
    current = call("GET", f"{kv}/data/x").data
    assert (current["data"], current["metadata"]["version"]) == ({"a": winner}, 2)


def test_a_path_cannot_end_with_a_slash(call, kv):
    """Neither can a secret live at the mount itself, nor outside the mount's areas."""
    for method in ("POST", "PATCH"):
        reply = call(method, f"{kv}/data/x/", {"data": {}})
        assert (reply.status, reply.errors) == (400, ["cannot write to a path ending in '/'"])
    for path, warning in ((f"{kv}/data", "Non-listing operations"), (f"{kv}/x", "Invalid path")):
        reply = call("GET", path)
        assert (reply.status, reply.data) == (404, None)
        assert reply.body["warnings"][0].startswith(warning)


@pytest.mark.parametrize(
    ("method", "area", "status"),
    [("LIST", "data/x", 405), ("GET", "delete/x", 405), ("DELETE", "config", 405), ("FOO", "data/x", 405)],
)
def test_what_an_area_does_not_do_is_405(call, kv, method, area, status):
    """A method that makes no sense where it was sent."""
    assert call(method, f"{kv}/{area}").status == status


# --- deleted, destroyed, pruned -------------------------------------------------------------------


def test_a_deleted_version_is_404_with_a_body(call, kv):
    """A soft delete leaves a version that is not the same as nothing: 404, but with metadata."""
    put(call, kv, {"a": "b"})
    assert call("DELETE", f"{kv}/data/x").status == 204
    reply = call("GET", f"{kv}/data/x")

    assert reply.status == 404
    assert reply.data["data"] is None
    assert reply.data["metadata"]["deletion_time"] != ""
    assert (reply.data["metadata"]["version"], reply.data["metadata"]["destroyed"]) == (1, False)
    assert call("DELETE", f"{kv}/data/x").status == 204
    assert call("DELETE", f"{kv}/data/nothing").status == 204


def test_undelete_brings_it_back(call, kv):
    """The version reads as before, under its own number."""
    put(call, kv, {"a": "b"})
    call("DELETE", f"{kv}/data/x")
    assert call("POST", f"{kv}/undelete/x", {"versions": [1]}).status == 204
    reply = call("GET", f"{kv}/data/x")

    assert (reply.status, reply.data["data"]) == (200, {"a": "b"})
    assert reply.data["metadata"]["deletion_time"] == ""


def test_a_destroyed_version_is_gone(call, kv):
    """404 with a body that says so, also after an undelete; other versions stay."""
    put(call, kv, {"a": "b"})
    put(call, kv, {"a": "c"})
    assert call("POST", f"{kv}/destroy/x", {"versions": [2]}).status == 204
    call("POST", f"{kv}/undelete/x", {"versions": [2]})
    reply = call("GET", f"{kv}/data/x")

    assert (reply.status, reply.data["data"]) == (404, None)
    assert (reply.data["metadata"]["destroyed"], reply.data["metadata"]["version"]) == (True, 2)
    assert call("GET", f"{kv}/data/x?version=1").data["data"] == {"a": "b"}


def test_former_versions_can_be_deleted(call, kv):
    """`delete` names versions; the current one is left alone."""
    put(call, kv, {"a": "b"})
    put(call, kv, {"a": "c"})
    assert call("POST", f"{kv}/delete/x", {"versions": [1, 7]}).status == 204

    assert call("GET", f"{kv}/data/x?version=1").status == 404
    assert call("GET", f"{kv}/data/x").status == 200


@pytest.mark.parametrize("area", ["delete", "undelete", "destroy"])
def test_marking_needs_versions(call, kv, area):
    """Without numbers 400; where there is no secret nothing happens, and that is 204."""
    reply = call("POST", f"{kv}/{area}/x", {})

    assert reply.status == 400
    assert reply.errors[0].lower() == "no version number provided"
    assert call("POST", f"{kv}/{area}/x", {"versions": [1]}).status == 204


@pytest.mark.parametrize("area", ["delete", "destroy"])
def test_after_a_delete_cas_is_the_deleted_versions_number(call, kv, area):
    """Not zero: the number goes on."""
    put(call, kv)
    call("POST", f"{kv}/{area}/x", {"versions": [1]})

    assert put(call, kv, cas=0).errors == MISMATCH
    assert put(call, kv, cas=1).data["version"] == 2
    assert call("GET", f"{kv}/data/x").status == 200


@pytest.mark.parametrize("by", ["mount", "path"])
def test_max_versions(server, call, by):
    """Three kept of seven: `oldest_version` is 5, and what is older reads as never written."""
    kv = server.mount(max_versions=3 if by == "mount" else 0)
    if by == "path":
        call("POST", f"{kv}/metadata/x", {"max_versions": 3})
    for number in range(7):
        put(call, kv, {"a": number})
    metadata = call("GET", f"{kv}/metadata/x").data

    assert sorted(metadata["versions"]) == ["5", "6", "7"]
    assert (metadata["oldest_version"], metadata["current_version"]) == (5, 7)
    assert call("GET", f"{kv}/data/x?version=4").body == {"errors": []}
    assert call("GET", f"{kv}/data/x?version=5").data["data"] == {"a": 4}


@pytest.mark.parametrize(("writes", "oldest"), [(10, 1), (11, 2)])
def test_ten_versions_are_kept(call, kv, writes, oldest):
    """Without any setting."""
    for number in range(writes):
        put(call, kv, {"a": number})
    assert min(int(number) for number in call("GET", f"{kv}/metadata/x").data["versions"]) == oldest


# --- metadata -------------------------------------------------------------------------------------


def test_metadata_tells_all(call, kv):
    """What metadata holds of a secret with two versions, one of them deleted."""
    put(call, kv)
    put(call, kv)
    call("DELETE", f"{kv}/data/x")
    data = call("GET", f"{kv}/metadata/x").data

    expected = {
        "cas_required": False,
        "current_version": 2,
        "custom_metadata": None,
        "delete_version_after": "0s",
        "max_versions": 0,
        "oldest_version": 0,
    }
    assert {name: data[name] for name in expected} == expected
    assert data["created_time"] < data["updated_time"]
    assert [data["versions"][number]["deletion_time"] == "" for number in ("1", "2")] == [True, False]


def test_lists(call, kv):
    """Names at one level, folders with a slash; an empty folder is 404. GET with list=true is the same."""
    for path in ("b", "a/one", "a/two", "a/deep/three", "b/four"):
        put(call, kv, path=path)

    assert call("LIST", f"{kv}/metadata").data == {"keys": ["a/", "b", "b/"]}
    assert call("GET", f"{kv}/metadata/?list=true").data == {"keys": ["a/", "b", "b/"]}
    assert call("LIST", f"{kv}/metadata/a/").data == {"keys": ["deep/", "one", "two"]}
    assert call("LIST", f"{kv}/metadata/c").body == {"errors": []}


def test_deleting_metadata_ends_all(call, kv):
    """The next version is 1 again; to do it twice is no error."""
    put(call, kv)
    put(call, kv)
    for _ in range(2):
        assert call("DELETE", f"{kv}/metadata/x").status == 204

    assert call("GET", f"{kv}/data/x").body == {"errors": []}
    assert put(call, kv, cas=0).data["version"] == 1


def test_custom_metadata_is_kept(call, kv):
    """It is there in metadata, in reads, and in the answers to writes; numbers become texts."""
    put(call, kv)
    custom = {"custom_metadata": {"a": "b", "n": 1, "f": 1.5, "t": True}}
    assert call("POST", f"{kv}/metadata/x", custom).status == 204
    kept = {"a": "b", "n": "1", "f": "1.5", "t": "1"}

    assert call("GET", f"{kv}/metadata/x").data["custom_metadata"] == kept
    assert call("GET", f"{kv}/data/x").data["metadata"]["custom_metadata"] == kept
    assert put(call, kv, cas=1).data["custom_metadata"] == kept
    call("POST", f"{kv}/metadata/x", {"custom_metadata": {"c": "d"}})
    assert call("GET", f"{kv}/metadata/x").data["custom_metadata"] == {"c": "d"}
    call("POST", f"{kv}/metadata/x", {})
    assert call("GET", f"{kv}/metadata/x").data["custom_metadata"] == {"c": "d"}


@pytest.mark.parametrize(
    ("custom", "problem"),
    [
        ({str(number): "x" for number in range(64)}, ""),
        ({str(number): "x" for number in range(65)}, "payload must contain at most 64 keys, provided 65"),
        ({"k" * 128: "x"}, ""),
        ({"k" * 129: "x"}, "is 129 but must be 0 < len(key) <= 128"),
        ({"": "x"}, "is 0 but must be 0 < len(key) <= 128"),
        ({"k": "v" * 512}, ""),
        ({"k": "v" * 513}, "is 513 but must be 0 < len(value) <= 512"),
        ({"k": "ü" * 257}, "is 514 but must be 0 < len(value) <= 512"),
        ({"k": ""}, "is 0 but must be 0 < len(value) <= 512"),
        ({"k": None}, "is 0 but must be 0 < len(value) <= 512"),
        ({"k": "a\nb"}, 'value for key "k" contains unprintable characters'),
        ({"k": {}}, "expected type 'string', got unconvertible type 'map[string]interface {}'"),
    ],
)
def test_limits_of_custom_metadata(call, kv, custom, problem):
    """64 keys of 1 to 128 bytes, values of 1 to 512 bytes, printable: both sides of each."""
    reply = call("POST", f"{kv}/metadata/x", {"custom_metadata": custom})

    assert reply.status == (400 if problem else 204)
    assert problem == "" or problem in reply.errors[0]


def test_metadata_can_be_patched(call, kv):
    """Only what is named changes; null takes a key out; a missing path is 404."""
    assert call("PATCH", f"{kv}/metadata/x", {"custom_metadata": {"a": "1"}}).status == 404
    call("POST", f"{kv}/metadata/x", {"custom_metadata": {"a": "1", "b": "2"}, "max_versions": 5})
    assert call("PATCH", f"{kv}/metadata/x", {"custom_metadata": {"a": None, "c": "3"}}).status == 204
    data = call("GET", f"{kv}/metadata/x").data

    assert (data["custom_metadata"], data["max_versions"]) == ({"b": "2", "c": "3"}, 5)


# --- PATCH ----------------------------------------------------------------------------------------


def test_patch_merges(call, kv):
    """A merge patch: named fields change, null takes one out, all others stay; one more version."""
    put(call, kv, {"a": 1, "b": 2, "deep": {"x": 1, "y": 2}})
    patch = {"a": None, "c": [None, {"n": None}], "deep": {"y": 3}, "new": {"n": None}}
    reply = call("PATCH", f"{kv}/data/x", {"data": patch})

    assert (reply.status, reply.data["version"]) == (200, 2)
    expected = {"b": 2, "c": [None, {}], "deep": {"x": 1, "y": 3}, "new": {}}
    assert call("GET", f"{kv}/data/x").data["data"] == expected


def test_patch_needs_something_to_patch(call, kv):
    """A missing path is 404 without content, a deleted or destroyed version 404 with its metadata."""
    missing = call("PATCH", f"{kv}/data/x", {"data": {"a": 1}})
    assert (missing.status, missing.body) == (404, None)
    put(call, kv)
    for area in ("delete", "destroy"):
        call("POST", f"{kv}/{area}/x", {"versions": [1]})
        reply = call("PATCH", f"{kv}/data/x", {"data": {"a": 1}})
        assert (reply.status, reply.data["version"]) == (404, 1)
    assert reply.data["destroyed"] is True


def test_patch_heeds_cas(call, kv):
    """A wrong cas is refused; where cas is required it is required of a patch too."""
    put(call, kv)
    patch = {"data": {"a": 2}}
    assert call("PATCH", f"{kv}/data/x", {**patch, "options": {"cas": 2}}).errors == MISMATCH
    call("POST", f"{kv}/metadata/x", {"cas_required": True})

    assert call("PATCH", f"{kv}/data/x", patch).errors == REQUIRED
    assert call("PATCH", f"{kv}/data/x", {**patch, "options": {"cas": 1}}).status == 200


def test_patch_needs_its_content_type(call, kv):
    """Plain JSON is 415."""
    put(call, kv)
    reply = call("PATCH", f"{kv}/data/x", {"data": {}}, content_type="application/json")
    assert reply.status == 415
    assert call("PATCH", f"{kv}/data/x", {}).errors == ["no data provided"]


# --- mounts ---------------------------------------------------------------------------------------


def test_no_such_mount_has_a_text(server, call):
    """404, unlike a missing path with a text; but who may not look there is told 403."""
    for method in ("GET", "POST", "LIST", "DELETE"):
        reply = call(method, "nowhere/data/x", {"data": {}} if method == "POST" else None)
        assert reply.status == 404
        assert NO_HANDLER in reply.errors[0]
    assert call("GET", "nowhere/data/x", token=server.token({})).errors == LACKS_POLICY


def test_version_1_takes_a_call_for_version_2(server, call):
    """It stores the whole request as fields of a key `data/x`: 204, and no version anywhere."""
    kv = server.mount(version=1)
    body = {"data": {"a": 1}, "options": {"cas": 0}}

    assert call("POST", f"{kv}/data/x", body).status == 204
    assert call("GET", f"{kv}/data/x").data == body
    assert call("LIST", kv).data == {"keys": ["data/"]}
    assert call("GET", f"{kv}/x").body == {"errors": []}
    assert call("POST", f"{kv}/x", {}).errors == ["missing data fields"]
    assert call("PATCH", f"{kv}/data/x", body).status == 405
    assert call("DELETE", f"{kv}/data/x").status == 204


def test_a_mount_tells_its_version(server, call):
    """Who may do anything below the mount may ask; for others it does not exist."""
    mounts = {server.mount(version=version): str(version) for version in (1, 2)}
    for kv, version in mounts.items():
        token = server.token({f"{kv}/data/x": {"read"}})
        for path in (kv, f"{kv}/data/x"):
            data = call("GET", f"sys/internal/ui/mounts/{path}", token=token).data
            assert (data["type"], data["path"], data["options"]) == ("kv", f"{kv}/", {"version": version})
        for who, path in ((server.token({}), kv), (token, "nowhere")):
            reply = call("GET", f"sys/internal/ui/mounts/{path}", token=who)
            assert reply.status == 403
            assert reply.errors[0].startswith("preflight capability check returned 403")
        assert call("GET", f"sys/internal/ui/mounts/{kv}", token="").errors == DENIED


@pytest.mark.parametrize(
    ("rule", "held", "seen"),
    [
        ("{kv}/data/team/x", "read", True),
        ("{kv}/*", "read", True),
        ("*", "read", True),
        ("+/data/x", "read", True),
        ("{kv}/data/x", "deny", False),
        ("other/data/x", "read", False),
    ],
)
def test_any_rule_below_a_mount_shows_it(server, call, kv, rule, held, seen):
    """However deep or general the rule is; a `deny` shows nothing."""
    token = server.token({rule.format(kv=kv): {held}})
    assert (call("GET", f"sys/internal/ui/mounts/{kv}", token=token).status == 200) is seen


# --- permissions ----------------------------------------------------------------------------------


def test_a_token_without_the_policy(server, call, kv):
    """403 with a text of its own, for what is there as for what is not."""
    put(call, kv)
    token = server.token({f"{kv}/data/y": EVERYTHING})
    for path in ("data/x", "data/z", "metadata/y"):
        reply = call("GET", f"{kv}/{path}", token=token)
        assert (reply.status, reply.errors) == (403, LACKS_POLICY)


@pytest.mark.parametrize(
    ("method", "area", "needed"),
    [
        ("GET", "data", "read"),
        ("POST", "data", "update"),
        ("PUT", "data", "update"),
        ("PATCH", "data", "patch"),
        ("DELETE", "data", "delete"),
        ("POST", "delete", "update"),
        ("POST", "destroy", "update"),
        ("GET", "metadata", "read"),
        ("POST", "metadata", "update"),
        ("DELETE", "metadata", "delete"),
    ],
)
def test_the_capability_a_call_needs(server, call, kv, method, area, needed):
    """That one is enough, and all others together are not."""
    put(call, kv)
    put(call, kv)
    body = {"data": {}, "versions": [1]} if method not in ("GET", "DELETE") else None
    enough = server.token({f"{kv}/{area}/x": {needed}})
    short = server.token({f"{kv}/{area}/x": EVERYTHING - {needed}})

    assert call(method, f"{kv}/{area}/x", body, token=short).errors == LACKS_POLICY
    assert call(method, f"{kv}/{area}/x", body, token=enough).status in (200, 204)


def test_a_first_version_needs_create(server, call, kv):
    """Whether there is metadata decides; a soft-deleted secret is updated."""
    create = server.token({f"{kv}/data/x": {"create"}})
    update = server.token({f"{kv}/data/x": {"update"}})
    body = {"data": {}}

    assert call("POST", f"{kv}/data/x", body, token=update).status == 403
    assert call("POST", f"{kv}/data/x", body, token=create).status == 200
    assert call("POST", f"{kv}/data/x", body, token=create).status == 403
    call("DELETE", f"{kv}/data/x")
    assert call("POST", f"{kv}/data/x", body, token=update).status == 200


def test_permission_comes_before_cas(server, call, kv):
    """A wrong cas says 400 only to those who may write."""
    put(call, kv)
    body = {"data": {}, "options": {"cas": 7}}
    writer = server.token({f"{kv}/data/x": {"update"}})

    assert call("POST", f"{kv}/data/x", body, token=writer).errors == MISMATCH
    assert call("POST", f"{kv}/data/x", body, token=server.token({})).status == 403


def test_lists_may_be_allowed_with_or_without_the_slash(server, call, kv):
    """A rule for the folder's name serves too; one folder's rule does not serve the next."""
    put(call, kv, path="a/one")
    for rule in ("metadata/a", "metadata/a/", "metadata/a/*"):
        token = server.token({f"{kv}/{rule}": {"list"}})
        assert call("LIST", f"{kv}/metadata/a", token=token).data == {"keys": ["one"]}
        assert call("LIST", f"{kv}/metadata/b", token=token).status == 403


@pytest.mark.parametrize(
    ("rules", "held"),
    [
        ({"s/data/a/b": {"read"}}, {"read"}),
        ({"s/data/a": {"read"}}, {"deny"}),
        ({"s/data/a/*": {"read"}}, {"read"}),
        ({"s/data/a/b*": {"read"}}, {"read"}),
        ({"s/data/*/b": {"read"}}, {"deny"}),
        ({"s/data/+/b": {"read"}}, {"read"}),
        ({"s/+/b": {"read"}}, {"deny"}),
        ({"s/+/*": {"read"}}, {"read"}),
        ({"+/+/+/+": {"read"}}, {"read"}),
        ({"s/data/a/b": {"deny"}, "s/*": {"read"}}, {"deny"}),
        ({"s/data/a/b": {"read"}, "s/*": {"deny"}}, {"read"}),
        ({"s/data/a/b": {"read", "deny"}}, {"deny"}),
        ({"s/*": {"read"}, "s/data/*": {"update"}}, {"update"}),
        ({"s/data/*": {"read"}, "s/data/+/b": {"update"}}, {"update"}),
        ({"s/data/a/*": {"read"}, "s/data/+/b": {"update"}}, {"read"}),
        ({"s/+/a/b": {"read"}, "s/data/+/b": {"update"}}, {"update"}),
        ({"s/data/+/b": {"read"}, "s/data/+/*": {"update"}}, {"read"}),
        ({"s/+/a/b": {"read"}, "s/+/+/b": {"update"}}, {"read"}),
        ({"*": {"create", "read"}}, {"create", "read"}),
    ],
)
def test_the_most_specific_rule_decides(server, call, rules, held):
    """Exact before patterns, the later wildcard before the earlier; `deny` wins within a rule only."""
    token = server.token(rules)
    reply = call("POST", "sys/capabilities-self", {"paths": ["s/data/a/b"]}, token=token)

    assert set(reply.data["s/data/a/b"]) == held
    assert reply.body["capabilities"] == reply.data["capabilities"] == reply.data["s/data/a/b"]


def test_capabilities_of_several_paths(server, call, kv):
    """One answer each, and all of them for root."""
    token = server.token({f"{kv}/data/x": {"read"}})
    asked = {"paths": [f"{kv}/data/x", "nowhere"]}

    assert call("POST", "sys/capabilities-self", asked, token=token).data == {
        f"{kv}/data/x": ["read"],
        "nowhere": ["deny"],
    }
    assert call("POST", "sys/capabilities-self", asked).data == {path: ["root"] for path in asked["paths"]}
    assert call("POST", "sys/capabilities-self", {}).errors == ["paths must be supplied"]


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["auth/token/lookup-self", "secret/data/x", "sys/internal/ui/mounts/secret"])
def test_no_token_and_a_wrong_one_look_alike(call, path):
    """403 with the bare text. (Vault 1.8 said 400 "missing client token" to the first.)"""
    for token in ("", "s.wrong"):
        reply = call("GET", path, token=token)
        assert (reply.status, reply.errors) == (403, DENIED)


def test_lookup_self(server, call):
    """What a token may know of itself."""
    token = server.token({"s/data/x": {"read"}}, ttl=60, max_ttl=600, display_name="rot")
    data = call("GET", "auth/token/lookup-self", token=token).data

    expected = {
        "creation_ttl": 60,
        "display_name": "token-rot",
        "explicit_max_ttl": 600,
        "id": token,
        "meta": None,
        "num_uses": 0,
        "orphan": False,
        "path": "auth/token/create",
        "renewable": True,
        "type": "service",
    }
    assert {name: data[name] for name in expected} == expected
    assert 55 <= data["ttl"] <= 60
    assert data["expire_time"] > data["issue_time"]
    assert data["policies"][0] == "default"
    assert len(data["policies"]) == 2


def test_a_root_token_never_ends(call):
    """No end, a time to live of 0, and nothing to renew."""
    data = call("GET", "auth/token/lookup-self").data
    assert (data["policies"], data["ttl"], data["expire_time"]) == (["root"], 0, None)
    assert call("POST", "auth/token/renew-self", {}).errors == ["lease is not renewable"]


def test_a_token_expires(server, call, kv):
    """At the end of its time it is as good as a wrong one."""
    put(call, kv)
    token = server.token({f"{kv}/data/x": {"read"}}, ttl=2)
    assert call("GET", f"{kv}/data/x", token=token).status == 200
    server.pass_time(2)

    for path in (f"{kv}/data/x", "auth/token/lookup-self"):
        reply = call("GET", path, token=token)
        assert (reply.status, reply.errors) == (403, DENIED)
    assert call("POST", "auth/token/renew-self", {}, token=token).errors == DENIED


def test_renewal_never_goes_beyond_the_longest_life(server, call):
    """Three seconds each time, five at most: the second renewal gives what is left, and then it ends."""
    token = server.token({}, ttl=3, max_ttl=5)
    assert call("POST", "auth/token/renew-self", {}, token=token).body["auth"]["lease_duration"] == 3
    server.pass_time(2.5)
    reply = call("POST", "auth/token/renew-self", {"increment": "1h"}, token=token)

    assert 2 <= reply.body["auth"]["lease_duration"] <= 3
    assert reply.body["auth"]["client_token"] == token
    assert "exceeded the effective max_ttl" in reply.body["warnings"][0]
    assert call("GET", "auth/token/lookup-self", token=token).data["last_renewal_time"] > 0
    server.pass_time(3)
    assert call("POST", "auth/token/renew-self", {}, token=token).status == 403


def test_an_increment_is_the_new_time_to_live(server, call):
    """Counted from now, in seconds or as a duration; without one it is the same as the time before."""
    token = server.token({}, ttl=100)
    for increment, expected in ((None, 100), (50, 50), ("2m", 120), (None, 120)):
        body = {} if increment is None else {"increment": increment}
        auth = call("POST", "auth/token/renew-self", body, token=token).body["auth"]
        assert (auth["lease_duration"], auth["renewable"]) == (expected, True)


def test_some_tokens_cannot_be_renewed(server, call):
    """400; the token lives on."""
    token = server.token({}, renewable=False)
    reply = call("POST", "auth/token/renew-self", {}, token=token)

    assert (reply.status, reply.errors) == (400, ["lease is not renewable"])
    assert call("GET", "auth/token/lookup-self", token=token).data["renewable"] is False


def test_a_token_can_revoke_itself(server, call):
    """From then on it is a wrong token."""
    token = server.token({})
    assert call("POST", "auth/token/revoke-self", {}, token=token).status == 204
    assert call("GET", "auth/token/lookup-self", token=token).errors == DENIED


# --- logins ---------------------------------------------------------------------------------------


def test_approle_login(server, call, kv):
    """The token that comes of it has the role's policies and times."""
    put(call, kv)
    mount, role_id, secret_id = server.approle({f"{kv}/data/x": {"read"}}, ttl=60, max_ttl=120)
    login = {"role_id": role_id, "secret_id": secret_id}
    reply = call("POST", f"auth/{mount}/login", login, token="")

    assert reply.status == 200
    auth = reply.body["auth"]
    expected = {"lease_duration": 60, "renewable": True, "token_type": "service", "orphan": True}
    assert {name: auth[name] for name in expected} == expected
    assert auth["metadata"] == {"role_name": "role"}
    assert (auth["policies"][0], len(auth["policies"])) == ("default", 2)
    assert call("GET", f"{kv}/data/x", token=auth["client_token"]).status == 200
    told = call("GET", "auth/token/lookup-self", token=auth["client_token"]).data
    assert (told["display_name"], told["path"]) == (mount, f"auth/{mount}/login")
    assert told["explicit_max_ttl"] == 0
    assert call("POST", f"auth/{mount}/login", login, token="").status == 200


@pytest.mark.parametrize("uses", [1, 2])
def test_a_secret_id_is_used_up(server, call, uses):
    """One login more than it is good for is refused."""
    mount, role_id, secret_id = server.approle({}, uses=uses)
    login = {"role_id": role_id, "secret_id": secret_id}
    statuses = [call("POST", f"auth/{mount}/login", login, token="").status for _ in range(uses + 1)]

    assert statuses == [200] * uses + [400]
    assert call("POST", f"auth/{mount}/login", login, token="").errors == ["invalid role or secret ID"]


def test_wrong_approle_credentials(server, call):
    """400 in one text for both; a missing role_id is 500."""
    mount, role_id, secret_id = server.approle({})
    for login, status, text in (
        ({"role_id": role_id, "secret_id": "wrong"}, 400, "invalid role or secret ID"),
        ({"role_id": "wrong", "secret_id": secret_id}, 400, "invalid role or secret ID"),
        ({"role_id": role_id}, 400, "missing secret_id"),
        ({"secret_id": secret_id}, 500, "missing role_id"),
    ):
        reply = call("POST", f"auth/{mount}/login", login, token="")
        assert (reply.status, reply.errors) == (status, [text])


def test_approle_tokens_end_with_the_roles_longest_life(server, call):
    """Two seconds each time, four at most."""
    mount, role_id, secret_id = server.approle({}, ttl=2, max_ttl=4)
    login = {"role_id": role_id, "secret_id": secret_id}
    token = call("POST", f"auth/{mount}/login", login, token="").body["auth"]["client_token"]
    for _ in range(2):
        server.pass_time(1.3)
        assert call("POST", "auth/token/renew-self", {}, token=token).status == 200
    server.pass_time(2)
    assert call("POST", "auth/token/renew-self", {}, token=token).errors == DENIED


def test_no_such_auth_mount(call):
    """Without a token it looks like a wrong one; with all rights it is 404."""
    assert call("POST", "auth/nowhere/login", {}, token="").errors == DENIED
    reply = call("POST", "auth/nowhere/login", {})
    assert reply.status == 404
    assert NO_HANDLER in reply.errors[0]


def test_kubernetes_login(server, call):
    """The token that comes of it names the service account."""
    mount, role = server.kubernetes("rotator", "prod", {})
    login = {"role": role, "jwt": server.jwt("rotator", "prod")}
    reply = call("POST", f"auth/{mount}/login", login, token="")

    assert reply.status == 200
    auth = reply.body["auth"]
    assert (auth["policies"][0], len(auth["policies"])) == ("default", 2)
    named = {
        "role": role,
        "service_account_name": "rotator",
        "service_account_namespace": "prod",
        "service_account_secret_name": "",
    }
    assert {name: auth["metadata"][name] for name in named} == named
    told = call("GET", "auth/token/lookup-self", token=auth["client_token"]).data
    assert told["display_name"] == f"{mount}-prod-rotator"


@pytest.mark.parametrize(
    ("account", "home", "options", "text"),
    [
        ("other", "prod", {}, "service account name not authorized"),
        ("rotator", "test", {}, "namespace not authorized"),
        ("rotator", "prod", {"audience": "other"}, "invalid audience (aud) claim"),
        ("rotator", "prod", {"ttl": -600}, "invalid expiration time (exp) claim: token is expired"),
        ("rotator", "prod", {"issuer": "other"}, "invalid issuer (iss) claim"),
    ],
)
def test_kubernetes_refuses_other_accounts(server, call, account, home, options, text):
    """403 that says why. (Vault 1.8 said 500.)"""
    mount, role = server.kubernetes("rotator", "prod", {}, audience="vault", issuer="cluster")
    login = {"role": role, "jwt": server.jwt(account, home, **{"issuer": "cluster", **options})}
    reply = call("POST", f"auth/{mount}/login", login, token="")

    assert reply.status == 403
    assert text in reply.errors[0]


def test_kubernetes_refuses_what_is_no_jwt(server, call):
    """403 for a malformed one, 400 for none and for a role that does not exist."""
    mount, role = server.kubernetes("rotator", "prod", {})
    where, jwt = f"auth/{mount}/login", server.jwt("rotator", "prod")

    malformed = call("POST", where, {"role": role, "jwt": "nonsense"}, token="")
    assert (malformed.status, malformed.errors) == (403, DENIED)
    for login, text in (
        ({"role": "x", "jwt": jwt}, 'invalid role name "x"'),
        ({"role": role}, "missing jwt"),
        ({"jwt": jwt}, "missing role"),
    ):
        reply = call("POST", where, login, token="")
        assert (reply.status, reply.errors) == (400, [text])


def test_kubernetes_asks_the_cluster(server, call):
    """A token of a service account that is gone is refused, though it names the right account."""
    mount, role = server.kubernetes("rotator", "prod", {})
    login = {"role": role, "jwt": server.jwt("rotator", "prod")}
    server.forget_account("rotator", "prod")
    reply = call("POST", f"auth/{mount}/login", login, token="")

    assert (reply.status, reply.errors) == (403, DENIED)


# --- namespaces -----------------------------------------------------------------------------------


def test_namespaces_hold_mounts_of_their_own(server, call):
    """The header and the front of the path name the same namespace; outside it there is nothing."""
    space = server.namespace()
    kv = server.mount(namespace=space)
    assert call("POST", f"{kv}/data/x", {"data": {"a": 1}}, namespace=space).status == 200

    for path, header in ((f"{kv}/data/x", space), (f"{kv}/data/x", f"/{space}"), (f"{space}{kv}/data/x", "")):
        assert call("GET", path, namespace=header).data["data"] == {"a": 1}
    assert NO_HANDLER in call("GET", f"{kv}/data/x").errors[0]
    assert NO_HANDLER in call("GET", "nowhere/data/x", namespace=space).errors[0]
    unknown = call("GET", f"{kv}/data/x", namespace="nowhere")
    assert (unknown.status, unknown.errors) == (404, ["namespace not found"])


def test_a_token_belongs_to_its_namespace(server, call):
    """Its policies' paths count from there; what it asks about itself it may ask anywhere."""
    space = server.namespace()
    kv = server.mount(namespace=space)
    call("POST", f"{kv}/data/x", {"data": {}}, namespace=space)
    inner = server.token({f"{kv}/data/x": {"read"}}, namespace=space)
    outer = server.token({f"{space}{kv}/data/x": {"read"}})
    wrong = server.token({f"{kv}/data/x": {"read"}})

    for token, status in ((inner, 200), (outer, 200), (wrong, 403)):
        assert call("GET", f"{kv}/data/x", token=token, namespace=space).status == status
    for header in ("", space):
        told = call("GET", "auth/token/lookup-self", token=inner, namespace=header)
        assert told.data["namespace_path"] == space
        assert call("GET", "auth/token/lookup-self", token=outer, namespace=header).status == 200
    assert call("GET", "auth/token/lookup-self", token=inner, namespace="nowhere").status == 404
    asked = {"paths": [f"{kv}/data/x"]}
    reply = call("POST", "sys/capabilities-self", asked, token=inner, namespace=space)
    assert reply.data["capabilities"] == ["read"]
    assert call("POST", "sys/capabilities-self", asked, token=outer, namespace=space).errors == LACKS_POLICY


def test_logins_belong_to_their_namespace(server, call):
    """An auth mount of a namespace is not found outside it."""
    space = server.namespace()
    mount, role_id, secret_id = server.approle({}, namespace=space)
    login = {"role_id": role_id, "secret_id": secret_id}

    assert call("POST", f"auth/{mount}/login", login, token="").status == 403
    assert call("POST", f"auth/{mount}/login", login, token="", namespace=space).status == 200


# --- the server's own state -----------------------------------------------------------------------


def test_health_and_seal_status_need_no_token(call):
    """An active, unsealed server says so with 200."""
    health = call("GET", "sys/health", token="")
    assert health.status == 200
    assert (health.body["sealed"], health.body["standby"], health.body["initialized"]) == (False, False, True)
    status = call("GET", "sys/seal-status", token="")
    assert (status.status, status.body["sealed"]) == (200, False)


def test_health_is_not_asked_in_a_namespace(call):
    """400 with that header, wherever it points; seal-status does not mind it."""
    reply = call("GET", "sys/health", token="", namespace="nowhere")
    assert (reply.status, reply.errors) == (400, ["operation unavailable in namespaces"])
    assert call("GET", "sys/seal-status", token="", namespace="nowhere").status == 200


# --- the same, as hvac shows it -------------------------------------------------------------------


@pytest.fixture
def client(server):
    """The client library, pointed at the server by hand."""
    made = hvac.Client(url=server.url, token=server.root)
    yield made
    made.adapter.close()


def test_hvac_names_the_statuses(server, client, kv):
    """400, 403 and 404 are classes of their own; a wrong cas is one 400 among others."""
    store = client.secrets.kv.v2
    at = {"path": "x", "mount_point": kv}
    store.create_or_update_secret(**at, secret={"a": "b"}, cas=0)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="check-and-set"):
        store.create_or_update_secret(**at, secret={"a": "c"}, cas=0)
    assert store.read_secret_version(**at, raise_on_deleted_version=True)["data"]["data"] == {"a": "b"}

    store.delete_latest_version_of_secret(**at)
    with pytest.raises(hvac.exceptions.InvalidPath) as deleted:
        store.read_secret_version(**at, raise_on_deleted_version=True)
    assert deleted.value.json["data"]["metadata"]["version"] == 1
    kept = store.read_secret_version(**at, raise_on_deleted_version=False)
    assert kept["data"]["data"] is None
    with pytest.raises(hvac.exceptions.InvalidPath):
        store.read_secret_version("nothing", mount_point=kv, raise_on_deleted_version=False)
    client.token = server.token({})
    with pytest.raises(hvac.exceptions.Forbidden):
        store.read_secret_version(**at, raise_on_deleted_version=True)


def test_hvac_logs_in_and_renews(server, client):
    """AppRole and Kubernetes logins, lookup and renewal go through the library."""
    mount, role_id, secret_id = server.approle({}, ttl=60)
    client.auth.approle.login(role_id, secret_id, mount_point=mount)
    assert client.auth.token.lookup_self()["data"]["meta"] == {"role_name": "role"}
    assert client.auth.token.renew_self(increment=30)["auth"]["lease_duration"] == 30
    with pytest.raises(hvac.exceptions.InvalidRequest):
        client.auth.approle.login(role_id, "wrong", mount_point=mount)
    mount, role = server.kubernetes("rotator", "prod", {})
    client.auth.kubernetes.login(role, server.jwt("rotator", "prod"), mount_point=mount)
    assert client.is_authenticated()
    client.auth.token.revoke_self()
    assert not client.is_authenticated()
