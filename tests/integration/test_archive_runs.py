"""Commands whose output goes through the archive: run for real, read back from wherever it lies."""

import hashlib
import json
import shutil
import time

import pytest
import redis
from archiving import PROJECT, collect, eventually, house, text, types

from rdev.adapters.archive.objects import ObjectArchive
from rdev.domain.commands import Status
from rdev.domain.events import FINISHED, GAP, OUTPUT, QUEUED, STARTED
from rdev.errors import Gone, StoreUnavailable
from rdev.ports import metrics
from rdev.services.concluding import ArchiveRules, Concluding
from rdev.services.retirement import Retirement

MB = 1_000_000
REDIS_MB = 16
LONG = "seq 1 7000000"
"""Writes 54.9 MB."""


def long_output() -> bytes:
    return "".join(f"{n}\n" for n in range(1, 7_000_001)).encode()


@pytest.fixture
def place(tmp_path, database_url, redis_url):
    url = str(tmp_path / "archive")
    with house(tmp_path, database_url, redis_url, ObjectArchive(url), url) as place:
        yield place


def test_a_small_command_becomes_one_object_and_its_files_go(place):
    with place.running():
        command = place.submit("echo out; sleep 0.1; echo err >&2")
        place.until_archived(command)
    objects = list((place.folder / "archive").rglob("*.zst"))
    assert [str(o.relative_to(place.folder / "archive").parent) for o in objects] == [
        f"{PROJECT}/{command.id}"
    ]
    assert 0 < place.client.ttl(f"rdev:{{{PROJECT}}}:{command.id}") <= ArchiveRules().redis_keeps_s
    assert not list((place.folder / "commands" / PROJECT).glob(command.id))
    place.client.flushall()
    got = place.read(command)
    assert types(got) == [QUEUED, STARTED, OUTPUT, OUTPUT, FINISHED]
    assert (text(got), text(got, "stderr")) == (b"out\n", b"err\n")
    assert place.output(command, "all") == b"out\nerr\n"
    assert place.output(command, "stderr", 1, 3) == b"rr"
    with place.events() as events:
        assert events.command_reader(PROJECT, command.id, "5-5") is None
        assert events.wait_finished(PROJECT, command.id, 0)
        assert [e.data for e in events.entries(PROJECT, command.id)] == [b"out\n", b"err\n"]


@pytest.mark.slow
def test_a_long_command_leaves_redis_small_and_is_read_from_everywhere(place):
    """Given a command that writes 55 MB, read live meanwhile; then Redis never holds more than
    its share, and readers get every byte from the archive, across the seam, and from an id that
    the archive alone knows."""
    expected = long_output()
    most = 0
    with place.running(), place.events() as events:
        command = place.submit(LONG)
        with events.command_reader(PROJECT, command.id) as reader:
            live = []
            while not (live and live[-1].type == FINISHED):
                live += collect_some(reader)
                most = max(most, place.client.memory_usage(key(command)) or 0)
        record = place.until_archived(command)
    assert record.stdout_sha256 == hashlib.sha256(expected).hexdigest()
    assert text(live) == expected
    assert GAP not in types(live)
    kept = place.kept(command)
    assert kept < REDIS_MB * MB
    assert most < 1.4 * REDIS_MB * MB  # what it allocates for them

    seam = len(expected) - kept
    assert (
        place.output(command, "stdout", seam - 5000, seam + 5000)
        == (expected[seam - 5000 : seam + 5000])
    )
    assert (
        place.output(command, "stdout", 10_000_001, 10_000_010) == (expected[10_000_001:10_000_010])
    )
    assert place.output(command, "all") == expected
    resumed = place.read(command, "20000001-0")
    assert GAP not in types(resumed)
    assert text(resumed) == expected[20_000_000:]
    place.client.flushall()
    assert text(place.read(command)) == expected
    assert place.output(command, "stdout") == expected


def collect_some(reader):
    from archiving import ENOUGH_S, lines

    chunk = reader.next(ENOUGH_S)
    assert chunk is not None
    return lines(chunk)


def key(command):
    return f"rdev:{{{command.project_id}}}:{command.id}"


@pytest.mark.slow
@pytest.mark.parametrize("point", ["archive.stored", "archive.concluded"])
def test_a_runner_killed_between_storing_and_trimming_costs_nothing(place, point):
    command = place.submit("seq 1 2000000; sleep 0.3; seq 1 10 >&2")
    with place.runner_process(RDEV_FAIL_POINTS=f"{point}=1") as process:
        process.wait(60)
        assert process.returncode == -9
    with place.running():
        record = place.until_archived(command)
    expected = "".join(f"{n}\n" for n in range(1, 2_000_001)).encode()
    assert (record.output.stdout, record.output.stderr) == (len(expected), 21)
    for _ in range(2):
        got = place.read(command)
        assert text(got) == expected
        assert types(got).count(FINISHED) == 1
        assert GAP not in types(got)
        place.client.flushall()


@pytest.mark.slow
def test_an_archive_that_is_away_stops_no_command_and_is_caught_up_with(place):
    """Given a folder that cannot be written for a while; then commands run and end as ever, Redis
    keeps what is not archived, and later all of it is archived and forgotten."""
    folder = place.folder / "archive"
    folder.write_text("in the way")
    with place.running():
        small = place.submit("echo small")
        large = place.submit("seq 1 3000000")
        for command in (small, large):
            eventually(lambda command=command: place.record(command).status.final)
        expected = "".join(f"{n}\n" for n in range(1, 3_000_001)).encode()
        eventually(lambda: place.streams.tail(PROJECT, large.id).finished)
        assert place.kept(large) == len(expected)
        assert text(place.read(large)) == expected
        folder.unlink()
        for command in (small, large):
            place.until_archived(command)
    assert place.kept(large) < REDIS_MB * MB
    assert place.output(large, "stdout") == expected
    place.client.flushall()
    assert place.output(large, "stdout") == expected
    assert place.output(small, "stdout") == b"small\n"


@pytest.mark.slow
def test_a_redis_that_is_full_while_the_archive_is_away_is_waited_for(place):
    """What it cannot take waits in the workspace; once the archive is there again, it has room."""
    folder = place.folder / "archive"
    folder.write_text("in the way")
    room = place.client.info("memory")["used_memory"] + 12 * MB
    place.client.config_set("maxmemory", room)
    try:
        with place.running():
            command = place.submit("seq 1 3000000")
            eventually(lambda: is_full(place.client))
            assert not place.record(command).status.final
            folder.unlink()
            record = place.until_archived(command)
    finally:
        place.client.config_set("maxmemory", 0)
    expected = "".join(f"{n}\n" for n in range(1, 3_000_001)).encode()
    assert (record.status, record.exit_code) == (Status.SUCCEEDED, 0)
    assert record.stdout_sha256 == hashlib.sha256(expected).hexdigest()
    got = place.read(command)
    assert GAP not in types(got)
    assert text(got) == expected


def is_full(client):
    """For as much as a runner adds at once: less may still find room."""
    try:
        client.set("probe", bytes(MB), ex=60)
    except redis.exceptions.OutOfMemoryError:
        return True
    return False


def test_files_that_could_not_be_removed_at_once_are_removed_when_their_workspace_is_back(
    place, caplog
):
    archive, files = place.folder / "archive", place.folder / "commands" / PROJECT
    archive.write_text("in the way")
    with place.running():
        command = place.submit("echo out")
        eventually(lambda: place.streams.tail(PROJECT, command.id).finished)
        away = files.rename(files.with_name("away"))
        files.write_text("in the way")
        archive.unlink()
        eventually(lambda: "stay behind" in caplog.text)
        files.unlink()
        away.rename(files)
        eventually(lambda: not (files / command.id).exists())
        place.until_archived(command)


def test_files_of_a_workspace_that_never_comes_back_are_given_up(place):
    archive, files = place.folder / "archive", place.folder / "commands" / PROJECT
    archive.write_text("in the way")
    with place.running():
        command = place.submit("echo out")
        eventually(lambda: place.streams.tail(PROJECT, command.id).finished)
        files.rename(files.with_name("away"))
        files.write_text("in the way")
        archive.unlink()
        age(place, command, days=2)
        place.until_archived(command)
    files.unlink()
    files.with_name("away").rename(files)
    assert place.output(command, "stdout") == b"out\n"


def test_an_end_that_was_never_announced_is_where_its_workspace_never_comes_back(place):
    """Its runner died before it could; then Redis lost its data, and the workspace went."""
    command = place.submit("echo out")
    place.sql(
        "update commands set status = 'succeeded', exit_code = 0, stdout_bytes = 4, "
        "started_at = now(), finished_at = now(), epoch = 1"
    )
    age(place, command, days=2)
    place.client.flushall()
    files = place.folder / "commands" / PROJECT
    shutil.rmtree(files, ignore_errors=True)
    files.parent.mkdir(exist_ok=True)
    files.write_text("in the way")
    with place.running():
        place.until_archived(command)
    files.unlink()
    assert types(place.read(command)) == [GAP, FINISHED]


def age(place, command, days=1.0):
    with place.database.transaction() as tx:
        tx.queue._sql.execute(
            "update commands set finished_at = finished_at - make_interval(secs => %s) "
            "where id = %s",
            (days * 86400, command.id),
        )


def test_what_redis_lost_before_it_was_archived_comes_from_the_workspace(place):
    folder = place.folder / "archive"
    folder.write_text("in the way")
    with place.running():
        command = place.submit("echo out; echo err >&2")
        eventually(lambda: place.streams.tail(PROJECT, command.id).finished)
        place.client.flushall()
        folder.unlink()
        place.until_archived(command)
    place.client.flushall()
    assert types(place.read(command)) == [QUEUED, STARTED, OUTPUT, OUTPUT, FINISHED]


def test_what_redis_lost_of_a_command_that_ended_is_waited_for_and_not_cut_short(place):
    """Such as what it had not put on the disk yet when the power went."""
    folder = place.folder / "archive"
    folder.write_text("in the way")
    with place.running():
        command = place.submit("echo out")
        eventually(lambda: place.streams.tail(PROJECT, command.id).finished)
    place.client.flushall()
    place.streams.announce(PROJECT, command.id, QUEUED, {})
    place.streams.announce(PROJECT, command.id, STARTED, {})
    totals = place.record(command).output
    with place.events() as events:
        with pytest.raises(StoreUnavailable):
            events.output(PROJECT, command.id, "stdout", 0, totals.stdout)
        with pytest.raises(StoreUnavailable):
            events.entries(PROJECT, command.id, totals)
    folder.unlink()
    with place.running():
        place.until_archived(command)
    assert place.output(command, "stdout", 0, totals.stdout) == b"out\n"


def remnant(place, command) -> None:
    """What Redis had on the disk of its stream as the power went."""
    place.client.flushall()
    place.streams.announce(PROJECT, command.id, QUEUED, {})
    place.streams.announce(PROJECT, command.id, STARTED, {})


def test_what_redis_has_left_of_a_stream_does_not_hide_what_is_archived(place):
    with place.running():
        command = place.submit("echo out; echo err >&2")
        archived = place.until_archived(command)
    remnant(place, command)
    assert place.output(command, "stdout", 0, archived.output.stdout) == b"out\n"
    remnant(place, command)
    with place.events() as events:
        entries = events.entries(PROJECT, command.id, archived.output)
        assert [entry.data for entry in entries] == [b"out\n", b"err\n"]
    remnant(place, command)
    assert types(place.read(command)) == [QUEUED, STARTED, OUTPUT, OUTPUT, FINISHED]


@pytest.mark.parametrize(("seen", "left"), [("3-0", [OUTPUT, FINISHED]), ("5-1", None)])
def test_who_has_seen_more_than_redis_has_left_goes_on_there(place, seen, left):
    with place.running():
        command = place.submit("echo out")
        place.until_archived(command)
    remnant(place, command)
    with place.events() as events:
        reader = events.command_reader(PROJECT, command.id, seen)
        if left is None:  # its end, so there is nothing to come back for
            assert reader is None
            return
        with reader:
            assert types(collect(reader)) == left


def test_who_waits_for_an_end_that_redis_lost_is_told_of_it(place):
    with place.running():
        command = place.submit("echo out")
        place.until_archived(command)
    remnant(place, command)
    with place.events() as events:
        assert events.wait_finished(PROJECT, command.id, 60)


def test_who_reads_as_redis_comes_back_with_less_is_told_the_rest(place):
    command = place.submit("echo out")
    with place.events() as events, events.command_reader(PROJECT, command.id) as reader:
        assert types(collect(reader, until=QUEUED)) == [QUEUED]
        assert reader.next(0.1) is None
        with place.running():
            place.until_archived(command)
        remnant(place, command)
        got = collect(reader)
    assert types(got) == [STARTED, OUTPUT, FINISHED]


class SeenTooEarly(ObjectArchive):
    """Whose first listing is of a moment before another runner stored anything."""

    early = True

    def segments(self, project_id, command_id):
        if self.early:
            self.early = False
            return []
        return super().segments(project_id, command_id)


def test_what_the_archive_has_is_not_begun_again_where_it_cannot_be_completed(place):
    """Given that Postgres lost the notes that it was seen off and archived (they are not worth an
    fsync), and Redis the stream, when the files are gone already."""
    with place.running():
        command = place.submit("echo out; echo err >&2")
        place.until_archived(command)
    place.sql("update commands set announced = false, archived = false")
    place.client.flushall()
    with place.running():
        place.until_archived(command)
    assert not place.client.exists(f"rdev:{{{PROJECT}}}:{command.id}")
    got = place.read(command)
    assert types(got) == [QUEUED, STARTED, OUTPUT, OUTPUT, FINISHED]
    assert place.output(command, "all") == b"out\nerr\n"


def test_who_waits_for_a_stream_that_is_gone_everywhere_is_told_its_end(place):
    command = place.submit("true")
    place.sql(
        "update commands set status = 'succeeded', started_at = now(), stdout_bytes = 4, "
        "finished_at = now() - interval '1 minute', announced = true"
    )
    place.client.flushall()
    with place.events() as events, events.command_reader(PROJECT, command.id) as reader:
        assert reader.next(1.0) is None
        with place.running():
            assert types(collect(reader)) == [GAP, FINISHED]


def test_two_runners_that_archive_one_command_leave_no_hole(place):
    """Redis loses the stream, which the other one had read before, and that one cleans up."""
    with place.running():
        command = place.submit("echo out; echo err >&2")
        record = place.until_archived(command)
    place.client.flushall()
    late = Concluding(
        place.database.transaction, place.streams, place.workspaces,
        SeenTooEarly(place.urls["archive"]), ArchiveRules(), stopping=lambda: False,
    )  # fmt: skip
    late.all([(record, late.trail(record))])
    assert place.output(command, "all") == b"out\nerr\n"
    assert types(place.read(command)) == [QUEUED, STARTED, OUTPUT, OUTPUT, FINISHED]
    assert len(list((place.folder / "archive").rglob("*.zst"))) == 1


def told_of_gaps(reason):
    """In commands' streams, in this process, by its metrics."""
    return dict(metrics.STREAM_GAPS.read()).get(("command", reason), 0)


def test_a_damaged_segment_is_a_gap_and_never_wrong_bytes(place, caplog):
    before = told_of_gaps("lost")
    with place.running():
        command = place.submit("echo hello")
        place.until_archived(command)
    (stored,) = (place.folder / "archive").rglob("*.zst")
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    assert text(place.read(command)) == b"hello\n"  # Redis still has it
    place.client.flushall()
    got = place.read(command)
    assert types(got) == [GAP, FINISHED]
    assert json.loads(got[0].data)["reason"] == "lost"
    assert told_of_gaps("lost") == before + 1
    with pytest.raises(Gone):
        place.output(command, "stdout", 0, 6)
    assert "is damaged" in caplog.text


def test_archives_are_removed_when_their_time_is_over_and_records_stay(place):
    with place.running(retention_days=1) as runner:
        old, young = place.submit("echo old"), place.submit("echo young")
        for command in (old, young):
            place.until_archived(command)
        age(place, old, days=2)
        runner._archiver._retirement.run()
    place.client.flushall()
    assert place.output(young, "stdout") == b"young\n"
    with pytest.raises(Gone):
        place.output(old, "stdout", 0, 4)
    before = told_of_gaps("expired")
    got = place.read(old)
    assert types(got) == [GAP, FINISHED]
    assert json.loads(got[0].data)["reason"] == "expired"
    assert told_of_gaps("expired") == before + 1
    assert place.record(old).status == "succeeded"
    with place.database.transaction() as tx:
        assert tx.archive.outlived(older_than_s=0, limit=9) == [(PROJECT, young.id)]


class Stuck(ObjectArchive):
    """Cannot remove what one command left."""

    stays: str

    def remove(self, project_id, command_id):
        if command_id == self.stays:
            raise StoreUnavailable("refused")
        super().remove(project_id, command_id)


def test_an_archive_that_cannot_be_removed_does_not_keep_the_others(place):
    with place.running():
        commands = [place.submit(f"echo {n}") for n in range(3)]
        for command in commands:
            place.until_archived(command)
            age(place, command, days=2)
    archive = Stuck(place.urls["archive"])
    archive.stays = commands[0].id
    Retirement(place.database.transaction, archive, 1, stopping=lambda: False).run()
    with place.database.transaction() as tx:
        assert tx.archive.outlived(older_than_s=0, limit=9) == [(PROJECT, commands[0].id)]
    assert len(list((place.folder / "archive").rglob("*.zst"))) == 1


def test_pointers_of_the_projects_stream_resolve_through_the_archive(place):
    with place.running():
        command = place.submit("echo hello")
        place.until_archived(command)
    place.streams.delete(PROJECT, command.id)
    with place.events() as events, events.project_reader(PROJECT, "0") as reader:
        got = collect(reader)
    assert types(got) == [QUEUED, STARTED, OUTPUT, FINISHED]
    assert text(got) == b"hello\n"


def test_a_drain_archives_what_ended_in_it(place):
    command = place.submit("echo hello")
    runner = place.runner()
    begun = time.monotonic()
    runner.drain(60)
    assert place.is_archived(command)
    assert time.monotonic() - begun < 60
