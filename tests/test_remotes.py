"""Remotes: what every kind keeps to, whatever it is; the server is a real one, the line a bad one.

One class for all kinds: a directory, an S3 server, Azurite where there is one, what fsspec reaches
(its memory, a real sshd where there is one, and a dataset repository of the Hub of the tests).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest

from cas.digest import Digest, hash_bytes
from cas.errors import AccessDenied, CasError, IntegrityError, Offline, SourceError, UsageError
from cas.limits import Limits
from cas.remote import Stopped, each, open_remote, parse_place
from tests import bucket as buckets
from tests.azurite import Azurite
from tests.badline import BadLine
from tests.hubserver import Hub
from tests.sshd import Sshd

QUICK = Limits(patience=30, backoff=0.05, backoff_most=0.2)
IMPATIENT = Limits(silence=1, patience=30, backoff=0.05, backoff_most=0.2)
BIG = (64 << 20) + 12345  # bytes: above what goes in one request


class Held:
    """A sink in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.expected: int | None = None
        self.restarts = 0

    @property
    def offset(self) -> int:
        return len(self.data)

    def expect(self, size: int) -> None:
        self.expected = size

    def write(self, data: bytes) -> None:
        self.data += data

    def restart(self) -> None:
        self.data.clear()
        self.restarts += 1


@pytest.fixture(scope="module")
def server():
    with buckets.running() as made:
        yield made


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with Sshd(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture(scope="module")
def azurite():
    with Azurite() as made:
        yield made


@pytest.fixture(scope="module")
def hub_server():
    with Hub() as made:
        yield made


@pytest.fixture
def hub(hub_server, monkeypatch):
    """What makes a dataset repository of a name, on a Hub that the client is logged in to."""
    from huggingface_hub import constants, file_download

    template = hub_server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setenv("HF_TOKEN", hub_server.token)

    def make(name: str) -> str:
        hub_server.repo(f"o/{name}", "dataset").commit({"README.md": b"shared"})
        return name

    return make


SLOW = [pytest.param(kind, marks=pytest.mark.full) for kind in ("sftp", "az", "hf")]


@pytest.fixture(params=["file", "s3", "memory", *SLOW])
def place(request, tmp_path, monkeypatch):
    """One new, empty place of each kind."""
    drawn = os.urandom(4).hex()
    monkeypatch.setenv("HOME", str(tmp_path))
    match request.param:
        case "file":
            url = f"file://{tmp_path}/shared"
        case "s3":
            for name, value in request.getfixturevalue("server").environment.items():
                monkeypatch.setenv(name, value)
            url = f"s3://lab-bucket/{drawn}"
        case "az":
            server = request.getfixturevalue("azurite")
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
            url = f"az://{server.container}/{drawn}"
        case "hf":
            url = f"hf://datasets/o/{request.getfixturevalue('hub')(drawn)}/cas"
        case "memory":
            url = f"memory://{drawn}/cas"
        case "sftp":
            server = request.getfixturevalue("sshd")
            monkeypatch.setenv("HOME", str(server.home))
            url = f"sftp://{server.address}{tmp_path}/far/cas"
            (tmp_path / "far").mkdir()
    return parse_place("lab", url)


@pytest.fixture
def remote(place):
    made = open_remote(place, limits=QUICK)
    assert made.begin(write=True)
    return made


def put(remote, tmp_path: Path, data: bytes, **more) -> Digest:
    path = tmp_path / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    digest = hash_bytes(data)
    assert remote.put(digest, str(path), stop=threading.Event(), **more)
    remote.settle()
    return digest


def fetch(remote, digest: Digest, sink: Held | None = None, limit: int = 1 << 40) -> bytes | None:
    sink = sink or Held()
    there = remote.fetch(digest, sink, limit=limit, stop=threading.Event())
    return bytes(sink.data) if there else None


class TestEveryKind:
    """What a remote keeps to."""

    def test_one_that_nothing_was_pushed_to_has_nothing(self, place):
        made = open_remote(place, limits=QUICK)
        if place.scheme == "file":
            with pytest.raises(Offline, match="there is no directory"):
                made.begin()
            return
        assert made.begin() is False

    def test_what_is_put_comes_back_and_only_once(self, remote, tmp_path):
        for data in (b"", b"one", os.urandom(300_000)):
            digest = put(remote, tmp_path, data)
            assert remote.size(digest) == len(data)
            assert fetch(remote, digest) == data
            path = str(tmp_path / digest)
            assert remote.put(digest, path, stop=threading.Event()) is False

    def test_a_large_object_goes_in_parts_and_comes_back(self, remote, tmp_path):
        data = os.urandom(1 << 20) * 64 + b"x" * 12345
        assert len(data) == BIG
        assert fetch(remote, put(remote, tmp_path, data)) == data

    @pytest.mark.parametrize("size", [1000, BIG])
    def test_damage_here_is_not_sent(self, remote, tmp_path, size):
        path = tmp_path / "object"
        path.write_bytes(b"y" * size)
        digest = hash_bytes(b"what it was")
        with pytest.raises(IntegrityError, match="object of the store"):
            remote.put(digest, str(path), stop=threading.Event())
        assert remote.size(digest) is None
        assert remote.sizes([digest], stop=threading.Event()) == {}

    def test_a_stop_leaves_nothing_of_a_large_one(self, remote, tmp_path):
        stop = threading.Event()
        path = tmp_path / "object"
        path.write_bytes(b"z" * BIG)
        digest = Digest(hashlib.sha256(path.read_bytes()).hexdigest())
        with pytest.raises(Stopped):
            remote.put(digest, str(path), stop=stop, progress=lambda _: stop.set())
        assert remote.size(digest) is None

    def test_sizes_tell_what_is_there_of_many(self, remote, tmp_path):
        put_ones = {put(remote, tmp_path, f"{n}".encode()): len(f"{n}") for n in range(12)}
        absent = {hash_bytes(f"absent {n}".encode()) for n in range(300)}
        found = remote.sizes([*put_ones, *absent], stop=threading.Event())
        assert found == put_ones

    def test_what_is_not_there_is_none_and_no_error(self, remote):
        absent = hash_bytes(b"absent")
        assert remote.size(absent) is None
        assert fetch(remote, absent) is None

    def test_a_fetch_goes_on_from_what_is_held(self, remote, tmp_path):
        data = os.urandom(400_000)
        digest = put(remote, tmp_path, data)
        for held in (1, 200_000, len(data)):
            sink = Held(data[:held])
            assert fetch(remote, digest, sink) == data
            assert sink.restarts == 0
        sink = Held(data + b"too much")
        assert fetch(remote, digest, sink) == data

    def test_more_than_is_allowed_is_refused(self, remote, tmp_path):
        digest = put(remote, tmp_path, b"x" * 5000)
        with pytest.raises(IntegrityError, match="at most 4999 bytes"):
            fetch(remote, digest, limit=4999)

    def test_only_a_repair_replaces(self, remote, tmp_path):
        digest = put(remote, tmp_path, b"right")
        path = tmp_path / digest
        assert remote.put(digest, str(path), stop=threading.Event(), replace=True)
        assert fetch(remote, digest) == b"right"

    def test_two_that_put_one_object_at_once_do_no_harm(self, place, remote, tmp_path):
        data = os.urandom(50_000)
        digest = hash_bytes(data)
        (tmp_path / digest).write_bytes(data)
        remotes = [remote, open_remote(place, limits=QUICK)]
        stop = threading.Event()

        def send(one):
            return one.put(digest, str(tmp_path / digest), stop=stop)

        answers = [error for _, _, error in each(remotes, send, jobs=2, stop=stop)]
        assert answers == [None, None]
        assert fetch(remote, digest) == data

    def test_files_of_experiments_are_kept_by_name_and_never_replaced(self, remote):
        assert remote.put_experiment_file("a.parquet", b"one")
        assert not remote.put_experiment_file("a.parquet", b"other")
        assert remote.put_experiment_file(".events/b.json", b"{}")
        remote.settle()
        assert remote.experiment_files() == {"a.parquet": 3, ".events/b.json": 2}
        assert remote.read_experiment_file("a.parquet", 10) == b"one"
        assert remote.read_experiment_file("absent", 10) is None
        with pytest.raises(IntegrityError):
            remote.read_experiment_file("a.parquet", 2)

    def test_another_version_or_use_is_refused(self, place):
        made = open_remote(place, limits=QUICK)
        made._space.begin(write=True)
        made._space.write("VERSION", b"cas-store 1\n")
        for write in (False, True):
            with pytest.raises(SourceError, match="expected 'cas-remote 1'"):
                made.begin(write=write)

    def test_other_keys_are_left_alone(self, remote, tmp_path):
        remote._space.write("objects/ab/not-an-object", b"theirs")
        remote._space.write("notes.txt", b"theirs")
        digest = put(remote, tmp_path, b"ours")
        assert list(remote.sizes([digest], stop=threading.Event())) == [digest]
        assert remote._space.read_first("notes.txt") == b"theirs"


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/p", "sftp://u:pw@host/p", "s3://bucket/p?X-Amz-Signature=abc",
        "az://box/p#secret", "https://bucket.s3.amazonaws.com/p", "http://x/y", "bucket/p", "s3://",
        "file://host/p", "file:relative", "file:///", "s3://bucket/../p", "s3://b ucket", "s3://u@b/p",
        "s3://bucket:99/p", "x",
    ],
)  # fmt: skip
def test_a_url_that_can_be_no_remote_is_refused_and_its_secret_not_shown(url):
    with pytest.raises(UsageError) as error:
        parse_place("lab", url)
    said = str(error.value) + (error.value.hint or "")
    assert not any(word in said for word in ("secret", ":pw", "Signature"))


@pytest.mark.parametrize("url", ["s3://bucket/a/b", "gs://bucket", "az://box/p", "file:///a/b",
                                 "sftp://user@host:2222/p"])  # fmt: skip
def test_a_url_reads_back_as_it_was_written(url):
    assert parse_place("lab", url).url == url
    assert parse_place("lab", url + "/").url == url


# --- S3: the bad line -----------------------------------------------------------------------------


@pytest.fixture
def line(server, monkeypatch):
    """The server behind a proxy that does wrong what it is told to."""
    with BadLine(server.endpoint) as made:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
        yield made


@pytest.fixture
def far(line, tmp_path):
    made = open_remote(parse_place("lab", f"s3://lab-bucket/{os.urandom(4).hex()}"), limits=QUICK)
    made.begin(write=True)
    data = os.urandom(3 << 20)
    made.data, made.digest = data, put(made, tmp_path, data)
    line.log.clear()
    return made


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_body_that_is_cut_or_stalls_goes_on_where_it_was(far, line, kind):
    line.fault(kind, at=1 << 20, times=1)
    sink = Held()
    impatient = open_remote(far.place, limits=IMPATIENT)
    assert fetch(impatient, far.digest, sink) == far.data
    assert sink.restarts == 0
    assert line.count("GET", "/objects/") == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(far, line, status, tmp_path):
    faults = [line.fault(status, times=2), line.fault(status, method="PUT", times=2)]
    assert fetch(far, far.digest) == far.data
    put(far, tmp_path, b"new")
    assert [fault.hits for fault in faults] == [2, 2]


def test_a_server_that_stays_busy_is_told_with_its_answer(far, line):
    line.fault(503, times=99)
    with pytest.raises(SourceError, match="it answered 503"):
        fetch(far, far.digest)
    assert line.count("GET", "/objects/") <= QUICK.tries


@pytest.mark.parametrize(("what", "status"), [("get", 429), ("put", 503), ("list", 429)])
def test_a_server_that_asks_for_a_wait_is_left_alone_that_long(far, line, what, status, tmp_path):
    told: list[str] = []
    patient = open_remote(far.place, limits=QUICK, notice=told.append)
    line.busy(status, wait=0.5)
    match what:
        case "get":
            assert fetch(patient, far.digest) == far.data
        case "put":
            put(patient, tmp_path, b"new")
        case "list":
            found = patient.sizes([far.digest], stop=threading.Event())
            assert found == {far.digest: len(far.data)}
    assert told == [f"{far} takes no more requests for 1 s: waiting"]
    assert len(line.log) == QUICK.tries + 2, "its tries, the question how long, and what served"


def test_a_wait_that_is_longer_than_the_quota_is_not_waited_for(far, line):
    line.busy(503, wait=1000)
    with pytest.raises(SourceError, match="it answered 503"):
        fetch(far, far.digest)
    assert len(line.log) == QUICK.tries + 1


def test_a_put_that_is_refused_for_want_of_space_says_so(far, line, tmp_path):
    line.fault(507, method="PUT", times=99)
    with pytest.raises(SourceError, match="it is full"):
        put(far, tmp_path, b"no room")


def test_no_part_of_a_stopped_upload_stays_on_the_server(far, server, tmp_path):
    stop = threading.Event()
    path = tmp_path / "object"
    path.write_bytes(b"z" * BIG)
    digest = Digest(hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(Stopped):
        far.put(digest, str(path), stop=stop, progress=lambda _: stop.set())
    assert server.uploads() == []


def test_a_large_remote_is_listed_by_prefix_many_at_a_time(far, line, tmp_path, monkeypatch):
    monkeypatch.setattr("cas.remote.remote.FLAT", 3)
    ones = {put(far, tmp_path, f"{n}".encode()): len(f"{n}") for n in range(40)}
    line.log.clear()
    assert far.sizes(ones, stop=threading.Event()) == ones
    assert line.count("HEAD") == 0
    assert line.count("GET", "list-type=2") > 3


# --- S3: large bodies, which are asked for once more, by a request of our own ---------------------

OWN = "X-Amz-Signature"  # in its URL, and in none of obstore's
MIB = 1 << 20


@pytest.fixture
def large(far, monkeypatch):
    """An object of 3 MiB on a remote where that is large."""
    monkeypatch.setattr("cas.remote.bucket.DIRECT", MIB)
    return open_remote(far.place, limits=IMPATIENT), far.digest, far.data


@pytest.mark.parametrize(("held", "own"), [(0, 1), (MIB, 1), ((2 << 20) + 1, 0)])
def test_a_large_body_comes_by_a_request_of_our_own(large, line, held, own):
    remote, digest, data = large
    sink = Held(data[:held])
    assert fetch(remote, digest, sink) == data
    assert sink.restarts == 0
    assert (line.count("GET", "/objects/"), line.count("GET", OWN)) == (1 + own, own)


@pytest.mark.parametrize(
    ("kind", "at"),
    [("cut", 0), ("stall", 0), ("whole", 0), ("short", 1000), ("content-range", 0), ("etag", 0),
     (403, 0), (503, 0)],
)  # fmt: skip
def test_one_that_is_refused_or_of_other_bytes_is_left_for_what_was_found(large, line, kind, at):
    remote, digest, data = large
    fault = line.fault(kind, part=OWN, at=at, times=99)
    sink = Held(data[:MIB])
    assert fetch(remote, digest, sink) == data
    assert sink.restarts == 0
    assert fault.hits == 1
    assert line.count("GET", "/objects/") == 2


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_one_that_ends_in_the_middle_goes_on_where_it_was(large, line, kind):
    remote, digest, data = large
    line.fault(kind, part=OWN, at=MIB)
    sink = Held()
    assert fetch(remote, digest, sink) == data
    assert sink.restarts == 0
    assert line.count("GET", OWN) == 2


def test_one_is_left_at_once_by_a_stop(large, line):
    remote, digest, data = large
    stop = threading.Event()
    sink = Held()
    with pytest.raises(Stopped):
        remote.fetch(digest, sink, limit=len(data), stop=stop, progress=lambda _: stop.set())
    assert 0 < sink.offset < len(data)


@pytest.mark.full
def test_azure_tells_a_container_that_is_not_there_and_a_wrong_key(azurite, monkeypatch):
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)
    for write in (False, True):
        with pytest.raises(SourceError, match="there is no such bucket"):
            open_remote(parse_place("lab", "az://nowhere/cas"), limits=QUICK).begin(write=write)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aHVzaA==")
    with pytest.raises(AccessDenied, match="refused access") as error:
        open_remote(parse_place("lab", f"az://{azurite.container}/cas"), limits=QUICK).begin()
    assert "aHVzaA" not in str(error.value)


def test_a_repository_that_is_not_on_the_hub_is_told(hub):
    made = open_remote(parse_place("lab", "hf://datasets/o/nosuch/cas"), limits=QUICK)
    assert made.begin() is False
    with pytest.raises(SourceError, match="there is no such repository") as caught:
        made.begin(write=True)
    assert "hf repos create" in str(caught.value.hint)


@pytest.mark.full
def test_what_fails_is_never_committed_to_a_hub(hub, hub_server, tmp_path, monkeypatch):
    monkeypatch.setattr("cas.remote.remote.LARGE", 100)
    monkeypatch.setattr("cas.remote.flow.PART", 100)
    name = hub(os.urandom(4).hex())
    made = open_remote(parse_place("lab", f"hf://datasets/o/{name}/cas"), limits=QUICK)
    made.begin(write=True)
    (tmp_path / "object").write_bytes(b"y" * 1000)
    repo = hub_server.repos["dataset", f"o/{name}"]
    before = repo.head()
    with pytest.raises(IntegrityError, match="object of the store"):
        made.put(hash_bytes(b"other"), str(tmp_path / "object"), stop=threading.Event())
    assert repo.head() == before
    assert fetch(made, put(made, tmp_path, b"z" * 1000)) == b"z" * 1000


# --- credentials ----------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A user with no keys at all."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path / ".aws"


LAB = parse_place("lab", "s3://lab-bucket/keys")


def test_no_credentials_are_one_clear_error(alone, monkeypatch):
    with pytest.raises(AccessDenied, match="no credentials were found") as error:
        open_remote(LAB)
    assert "AWS_PROFILE" in (error.value.hint or "")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AccessDenied, match="no profile 'nobody'"):
        open_remote(LAB)


def test_a_profile_gives_keys_region_and_endpoint(alone, server, monkeypatch):
    alone.joinpath("credentials").write_text(
        f"[lab]\naws_access_key_id = {server.key}\naws_secret_access_key = {server.secret}\n"
    )
    alone.joinpath("config").write_text(
        f"[profile lab]\nregion = eu-west-1\nendpoint_url = {server.endpoint}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    remote = open_remote(LAB, limits=QUICK)
    assert remote.begin(write=True)


def test_a_profile_that_can_not_be_read_is_not_quoted(alone):
    alone.joinpath("credentials").write_text("aws_secret_access_key = hush\n")
    with pytest.raises(AccessDenied) as error:
        open_remote(LAB)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("endpoint", ["http://10.1.2.3:9000", "http://u:hush@127.0.0.1", "ftp://x"])
def test_keys_do_not_travel_in_the_clear(alone, endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(UsageError) as error:
        open_remote(LAB)
    assert "hush" not in str(error.value)
    if endpoint.startswith("http://10."):
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        open_remote(LAB)


def test_wrong_keys_are_told_without_them(alone, server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    with pytest.raises(AccessDenied, match="does not know these credentials") as error:
        open_remote(LAB, limits=QUICK).begin()
    assert "hush" not in str(error.value)


def test_expired_keys_say_how_to_renew_them(alone, monkeypatch):
    from cas.remote.faults import fault_of

    body = "<Error><Code>ExpiredToken</Code><Message>hush</Message></Error>"
    fault = fault_of(LAB, Exception(f'status: 400, body: Some("{body}")'))
    assert isinstance(fault, AccessDenied)
    assert "expired" in str(fault)
    assert "hush" not in str(fault)
    assert fault.hint


def test_a_machine_without_a_role_has_no_credentials():
    from cas.remote.faults import fault_of

    text = "Error performing PUT http://169.254.169.254/latest/api/token: status: 403"
    assert "no credentials were found" in str(fault_of(LAB, Exception(text)))


def test_nobody_at_the_endpoint_is_offline_at_once(alone, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Offline):
        open_remote(LAB, limits=QUICK).begin()


def test_a_scheme_that_nothing_reaches_is_an_error_of_ours():
    with pytest.raises(CasError):
        open_remote(parse_place("lab", "nowhere://host/p"))


# --- directories ----------------------------------------------------------------------------------


def test_a_share_that_is_not_mounted_is_not_filled_beneath(tmp_path):
    made = open_remote(parse_place("lab", f"file://{tmp_path}/mount/cas"))
    for write in (False, True):
        with pytest.raises(Offline, match="there is no directory"):
            made.begin(write=write)
    assert not (tmp_path / "mount").exists()


def test_a_fifo_and_a_link_on_a_share_are_no_objects(tmp_path):
    made = open_remote(parse_place("lab", f"file://{tmp_path}/cas"))
    made.begin(write=True)
    digest = hash_bytes(b"x")
    inner = tmp_path / "cas/objects" / digest[:2]
    inner.mkdir(parents=True)
    os.mkfifo(inner / digest[2:])
    assert fetch(made, digest) is None
    assert made.size(digest) is None
    (inner / digest[2:]).unlink()
    (tmp_path / "secret").write_bytes(b"x")
    (inner / digest[2:]).symlink_to(tmp_path / "secret")
    assert made.sizes([digest], stop=threading.Event()) == {}
    with pytest.raises(SourceError):
        fetch(made, digest)


@pytest.mark.parametrize("keys", ["none", "another"])
def test_sftp_without_a_key_that_the_server_takes_is_denied(sshd, tmp_path, monkeypatch, keys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    if keys == "another":
        key = str(tmp_path / ".ssh/id_ed25519")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    place = parse_place("lab", f"sftp://{sshd.address}{tmp_path}/far/cas")
    with pytest.raises(AccessDenied, match="it takes none of the keys that are here"):
        open_remote(place, limits=QUICK).begin()


def test_a_directory_that_can_not_be_made_is_told_with_the_remotes_name():
    place = parse_place("lab", "file:///proc/cas")
    with pytest.raises(SourceError, match="remote 'lab'"):
        open_remote(place, limits=QUICK).begin(write=True)


def test_azure_without_an_account_is_denied(monkeypatch):
    for name in [one for one in os.environ if one.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(AccessDenied, match="no credentials were found") as raised:
        open_remote(parse_place("lab", "az://container/cas"), limits=QUICK).begin()
    assert "AZURE_STORAGE_ACCOUNT_NAME" in (raised.value.hint or "")
