"""The archive on a real S3 server, read back by another client."""

import json
import signal

import pytest
import zstandard
from archiving import PROJECT, eventually, house, text, types
from s3_server import BUCKET, s3_server

from rdev.adapters.archive.objects import ObjectArchive
from rdev.domain.commands import Position
from rdev.domain.events import FINISHED, OUTPUT, QUEUED, STARTED, STDOUT, Entry, EntryId
from rdev.domain.segments import Segment
from rdev.errors import StoreUnavailable

PLACE = ("demo", "cmd-1")
PREFIX = "some/where"
URL = f"s3://{BUCKET}/{PREFIX}"
FIVE = Segment((Entry(EntryId(6, 0), OUTPUT, b"hello", STDOUT),))
MORE = Segment((Entry(EntryId(9, 0), OUTPUT, b"\xff\0!", STDOUT),))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3") / "data") as server:
        yield server


@pytest.fixture
def archive(server):
    archive = ObjectArchive(URL, options=server.options)
    yield archive
    archive.remove(*PLACE)


def test_segments_are_stored_listed_loaded_and_removed(archive):
    for segment in (MORE, FIVE, MORE):
        archive.store(*PLACE, segment)
    assert archive.segments(*PLACE) == [FIVE.name, MORE.name]
    assert archive.load(*PLACE, MORE.name) == MORE
    assert archive.segments("demo", "cmd-") == []
    assert archive.load("demo", "cmd-2", FIVE.name) is None
    archive.remove(*PLACE)
    archive.remove(*PLACE)
    assert archive.segments(*PLACE) == []


def test_another_client_reads_plain_ndjson(server, archive):
    archive.store(*PLACE, FIVE)
    client = server.client()
    (found,) = client.list_objects(bucket_name=BUCKET, prefix=PREFIX, recursive=True)
    assert found.object_name == (f"{PREFIX}/demo/cmd-1/{0:018}-{0:018}_{5:018}-{0:018}.ndjson.zst")
    response = client.get_object(bucket_name=BUCKET, object_name=found.object_name)
    try:
        content = zstandard.ZstdDecompressor().decompress(response.read())
    finally:
        response.close()
        response.release_conn()
    head, line, rest = content.split(b"\n")
    assert json.loads(line) == {"id": "6-0", "type": "output", "stream": "stdout", "data": "hello"}
    assert json.loads(head)["entries"] == 1
    assert rest == b""


@pytest.mark.parametrize(
    "wrong", [{"secret_access_key": "wrong"}, {"endpoint": "http://127.0.0.1:9"}]
)
def test_a_store_that_refuses_or_is_not_there_is_unavailable(server, wrong):
    archive = ObjectArchive(URL, options={**server.options, **wrong}, timeout_s=2)
    for ask in (
        lambda: archive.store(*PLACE, FIVE),
        lambda: archive.segments(*PLACE),
        lambda: archive.load(*PLACE, FIVE.name),
        lambda: archive.remove(*PLACE),
    ):
        with pytest.raises(StoreUnavailable):
            ask()


def test_one_that_does_not_answer_is_unavailable_within_its_limit(server):
    archive = ObjectArchive(URL, options=server.options, timeout_s=0.5)
    server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            archive.segments(*PLACE)
        with pytest.raises(StoreUnavailable):
            archive.store(*PLACE, FIVE)
    finally:
        server.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_runner_archives_to_s3_by_its_environment_and_readers_find_all_of_it(
    server, tmp_path, database_url, redis_url
):
    archive = ObjectArchive(URL, options=server.options)
    with house(tmp_path, database_url, redis_url, archive, URL) as place:
        large, small = place.submit("seq 1 2000000"), place.submit("echo hi >&2")
        with place.runner_process(**server.environment):
            for command in (large, small):
                place.until_archived(command)
        expected = "".join(f"{n}\n" for n in range(1, 2_000_001)).encode()
        names = archive.segments(PROJECT, large.id)
        assert len(names) > 1
        assert names[-1].finished
        assert names[-1].end == Position(len(expected), 0)
        resumed = place.read(large, "5000001-0")
        assert text(resumed) == expected[5_000_000:]
        place.client.flushall()
        assert place.output(large, "stdout") == expected
        assert types(place.read(small)) == [QUEUED, STARTED, OUTPUT, FINISHED]
        eventually(lambda: not list((tmp_path / "commands" / PROJECT).glob("cmd-*")))
