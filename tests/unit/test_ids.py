"""Ids sort by time and never repeat."""

import uuid

from rdev.domain.ids import new_id


def test_ids_are_uuids_of_version_7_behind_their_noun() -> None:
    noun, _, value = new_id("cmd").partition("-")
    assert noun == "cmd"
    assert uuid.UUID(value).version == 7
    assert uuid.UUID(value).variant == uuid.RFC_4122


def test_ids_made_in_different_milliseconds_sort_by_time() -> None:
    ids = [new_id("cmd") for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    by_millisecond = [i[4:16] for i in ids]
    assert by_millisecond == sorted(by_millisecond)
