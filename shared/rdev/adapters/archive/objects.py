"""The archive as objects: a folder, or S3, GCS or Azure by URL. One object a segment,
`<project>/<command>/<from>_<to>.ndjson.zst`, compressed with zstd.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
import zstandard
from obstore.exceptions import BaseError

from rdev.beside_the_loop import beside_the_loop
from rdev.breaker import Breaker
from rdev.domain.segments import Segment, SegmentName, decode, encode
from rdev.errors import SegmentDamaged, StoreUnavailable
from rdev.on_disk import fsync_folder
from rdev.ports import metrics

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

_SUFFIX = ".ndjson.zst"
_LEVEL = 1
"""Text shrinks to a quarter either way; 3 takes twice the time."""
_TRIED = ".rdev-doctor"
_NOTHING = ".rdev-ready"
"""A name that no project has."""
_MOST_BYTES = 256 * 1024 * 1024
"""No segment is that large: what claims to be is damaged, and would fill the memory."""


class ObjectArchive:
    """Port `rdev.ports.SegmentArchive`. `place` is a folder, or a URL as obstore takes it, such
    as `s3://bucket/prefix`; endpoint, region and credentials come from `options` or from the
    environment under the provider's own names (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...)."""

    def __init__(
        self, place: str, *, timeout_s: float = 10.0, options: Mapping[str, Any] | None = None
    ) -> None:
        self._place = place
        self._folder = _folder(place)
        self._timeout_s = timeout_s
        self._options = dict(options or {})
        self._opened: ObjectStore | None = None
        self.breaker = Breaker(StoreUnavailable, _left_alone)
        metrics.BREAKER_OPEN.watch(lambda: [(("archive",), float(self.breaker.refuses))], "archive")

    def store(self, project_id: str, command_id: str, segment: Segment) -> None:
        """Durable once this returns; there whole, or not at all."""
        key = _prefix(project_id, command_id) + str(segment.name) + _SUFFIX

        def put() -> None:
            packed = zstandard.ZstdCompressor(_LEVEL, write_checksum=True).compress(
                encode(project_id, command_id, segment)
            )
            if self._folder is not None:
                _write_durably(self._folder, key, packed)
            else:
                obstore.put(self._objects(), key, packed, use_multipart=False)

        self._call("store", put)
        metrics.ARCHIVE_BYTES.add("store", by=segment.size)

    def segments(self, project_id: str, command_id: str) -> list[SegmentName]:
        """What is stored of a command, in order of their names."""
        prefix = _prefix(project_id, command_id)
        return sorted((name for key in self._keys(prefix) if (name := _name(prefix, key))), key=str)

    def load(self, project_id: str, command_id: str, name: SegmentName) -> Segment | None:
        """None where it is not there. Raises SegmentDamaged, and never gives wrong bytes."""
        key = _prefix(project_id, command_id) + str(name) + _SUFFIX

        def get() -> Segment | None:
            try:
                packed = obstore.get(self._objects(), key).bytes().to_bytes()
            except FileNotFoundError:
                return None
            return decode(project_id, command_id, name, _unpacked(packed))

        segment = self._call("load", get)
        metrics.ARCHIVE_BYTES.add("load", by=segment.size if segment else 0)
        return segment

    def remove(self, project_id: str, command_id: str) -> None:
        """Remove all of a command's segments. Twice is no error."""
        keys = self._keys(_prefix(project_id, command_id))

        def delete() -> None:
            for key in keys:
                with suppress(FileNotFoundError):
                    obstore.delete(self._objects(), key)

        self._call("remove", delete)

    def ping(self) -> None:
        """Raises StoreUnavailable unless it answers a question for what is not there."""

        def get() -> None:
            with suppress(FileNotFoundError):
                obstore.head(self._objects(), _NOTHING)

        self._call("ping", get)

    def try_out(self) -> None:
        """Write, read and remove something of no meaning. Raises StoreUnavailable."""
        key, data = f"{_TRIED}/{os.urandom(8).hex()}/x", b"rdev"

        def try_() -> None:
            if self._folder is not None:
                self._objects()
                _write_durably(self._folder, key, data)
            else:
                obstore.put(self._objects(), key, data, use_multipart=False)
            read = obstore.get(self._objects(), key).bytes().to_bytes()
            obstore.delete(self._objects(), key)
            if read != data:
                raise ValueError("what was read is not what was written")

        self._call("try", try_)

    def _keys(self, prefix: str) -> list[str]:
        def names() -> list[str]:
            pages = obstore.list(self._objects(), prefix=prefix.rstrip("/"))
            return [found["path"] for page in pages for found in page]

        return self._call("list", names)

    def _objects(self) -> "ObjectStore":
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> "ObjectStore":
        from obstore.store import LocalStore, from_url

        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return LocalStore(self._folder, automatic_cleanup=True)
        limit = timedelta(seconds=self._timeout_s)
        return from_url(
            self._place,
            # http only where the endpoint says so.
            client_options={"timeout": limit, "connect_timeout": limit / 3, "allow_http": True},
            retry_config={"max_retries": 2, "retry_timeout": limit},
            **self._options,
        )

    def _call(self, operation: str, act: Callable[[], T]) -> T:
        def bounded() -> T:
            with _timed(operation), _translated():
                return beside_the_loop(act, 3 * self._timeout_s)

        return self.breaker.call(bounded)


def _left_alone(pause_s: int) -> StoreUnavailable:
    return StoreUnavailable(
        "The archive does not answer; it is left alone for a while. Look at RDEV_ARCHIVE_URL, the "
        "credentials and the disk; try again after `Retry-After`.",
        retry_after_s=pause_s,
    )


def _prefix(project_id: str, command_id: str) -> str:
    return f"{project_id}/{command_id}/"


def _name(prefix: str, key: str) -> SegmentName | None:
    inner = key.removeprefix(prefix)
    return SegmentName.parse(inner.removesuffix(_SUFFIX)) if inner.endswith(_SUFFIX) else None


def _folder(place: str) -> Path | None:
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path))
    return None if "://" in place else Path(place).absolute()


def _write_durably(folder: Path, key: str, data: bytes) -> None:
    """obstore renames into place as well, but leaves it to the kernel when the bytes reach the
    disk; Redis forgets them as soon as this returns."""
    path = folder / key
    project = path.parent.parent
    new = not project.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}#{os.urandom(4).hex()}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    for changed in (path.parent, project, *([folder] if new else [])):
        fsync_folder(changed)


def _unpacked(packed: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(packed) > _MOST_BYTES:
            raise SegmentDamaged("it is too large for a segment")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=_MOST_BYTES)
    except zstandard.ZstdError as exc:
        raise SegmentDamaged("it cannot be decompressed") from exc


@contextmanager
def _timed(operation: str) -> Iterator[None]:
    began, result = time.monotonic(), "unavailable"
    try:
        yield
        result = "done"
    except SegmentDamaged:
        result = "damaged"
        raise
    finally:
        metrics.ARCHIVE_OPERATIONS.record(time.monotonic() - began, operation, result)


@contextmanager
def _translated() -> Iterator[None]:
    """The message names no URL: a signed one is a credential."""
    try:
        yield
    except (BaseError, OSError, ValueError) as exc:
        raise StoreUnavailable(
            f"The archive does not answer ({type(exc).__name__}). Look at RDEV_ARCHIVE_URL, "
            "the credentials and the disk; try again after `Retry-After`."
        ) from exc
