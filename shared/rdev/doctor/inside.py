"""A deployment by its own settings: its stores, what is in them, and where it keeps files."""

import os
import shutil
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from rdev.config import SOURCE_ROOT, Settings, read
from rdev.doctor.findings import Check, Trouble
from rdev.doctor.stores import PostgresChecks, RedisChecks
from rdev.domain.key_secrets import Peppers
from rdev.errors import RdevError

_LITTLE_BYTES = 500 * 1000 * 1000
_CALL_S = 5.0


class Inside:
    """`now` is this machine's clock."""

    def __init__(
        self, *, now: Callable[[], float] = time.time, migrations: Path = SOURCE_ROOT / "migrations"
    ) -> None:
        self._now = now
        self._migrations = migrations
        try:
            self._read: Settings | ValidationError | OSError = read(os.environ)
        except (ValidationError, OSError) as exc:
            self._read = exc

    def secrets(self) -> list[str]:
        """What no finding may show."""
        if not isinstance(self._read, Settings):
            raws = ("RDEV_PEPPER", "RDEV_DATABASE_URL", "RDEV_REDIS_URL", "RDEV_ARCHIVE_URL")
            return [os.environ[name] for name in raws if name in os.environ]
        read = self._read
        urls = [each.get_secret_value() for each in (read.database_url, read.redis_url)]
        passwords = [word for url in urls if (word := _password(url))]
        peppers = [line.strip() for line in read.pepper.get_secret_value().splitlines()]
        return [*urls, *passwords, *peppers, *(each.partition(":")[2] for each in peppers)]

    def checks(self) -> list[Check]:
        needs = ("settings",)
        asked = [Check("settings", self._settings)]
        if not isinstance(self._read, Settings):
            return asked
        read = self._read
        postgres = PostgresChecks(
            read.database_url.get_secret_value(),
            self._migrations,
            self._now,
            max_concurrent=read.default_max_concurrent,
        )
        redis = RedisChecks(read.redis_url.get_secret_value(), self._now)
        asked += [Check("pepper", self._pepper), *postgres.checks(), *redis.checks()]
        asked.append(Check("archive", self._archive, needs))
        if read.workspaces == "kubernetes":
            asked.append(Check("kubernetes", self._kubernetes, needs))
        else:
            asked.append(Check("workspaces", self._folders, needs))
        if bind := os.environ.get("RDEV_RUNNER_BIND"):
            asked.append(Check("runner", lambda: _runner(bind)))
        return asked

    @property
    def _settled(self) -> Settings:
        assert isinstance(self._read, Settings)
        return self._read

    def _settings(self) -> str:
        if isinstance(self._read, ValidationError):
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
                for each in self._read.errors(include_input=False, include_url=False)
            )
            raise Trouble(f"not usable: {wrong}", "Each is RDEV_<NAME>: docs/configuration.md.")
        if isinstance(self._read, OSError):
            raise Trouble(
                f"a file cannot be read: {self._read.filename}: {self._read.strerror}",
                "RDEV_PEPPER_FILE names a file that this user may read.",
            )
        return f"usable; workspaces: {self._read.workspaces}"

    def _pepper(self) -> str:
        try:
            Peppers.parse(self._settled.pepper.get_secret_value())
        except ValueError as exc:
            raise Trouble(
                f"RDEV_PEPPER is not usable: {exc}",
                "Bring the deployment's own back: with another one no key works any more.",
            ) from None
        return "there"

    def _archive(self) -> str:
        from rdev.adapters.archive.objects import ObjectArchive

        read = self._settled
        place = read.archive_url.get_secret_value()
        try:
            ObjectArchive(place, timeout_s=_CALL_S).try_out()
        except RdevError as exc:
            raise Trouble(
                f"it cannot be written, read and cleaned up: {exc.message}",
                "It has to be writable by the runner: permissions, free space, a disk that was "
                "mounted read-only, credentials. Until then Redis keeps all output.",
            ) from None
        return "can be written and read"

    def _folders(self) -> str:
        read = self._settled
        free = []
        for place in (read.workspaces_dir, read.commands_dir):
            there = next((each for each in (place, *place.parents) if each.exists()), Path("/"))
            if not os.access(there, os.W_OK | os.X_OK):
                raise Trouble(f"{there} cannot be written", "Give it to rdev's user.")
            free.append(shutil.disk_usage(there).free)
        found = f"{min(free) / 1e9:.1f} GB free"
        if min(free) < _LITTLE_BYTES:
            raise Trouble(found, "Make room: commands and their output need it.")
        return found

    def _kubernetes(self) -> str:
        from rdev.adapters.workspaces.kubernetes import names
        from rdev.wiring.stores import kubernetes_access, kubernetes_api

        places = self._settled.project_namespaces or [kubernetes_access().namespace()]
        try:
            kubernetes_api().ping(_CALL_S)
            for place in places:
                kubernetes_api().get(names.pods_path(place), limit="1")
        except RdevError as exc:
            raise Trouble(
                exc.message, "Look at RDEV_KUBECONFIG, and at deploy/kubernetes/projects/rbac.yaml."
            ) from None
        return f"pods can be listed in {', '.join(places)}"


def _runner(bind: str) -> str:
    connection = HTTPConnection("runner" if bind.startswith("unix:") else bind, timeout=_CALL_S)
    try:
        if bind.startswith("unix:"):
            connection.sock = socket(AF_UNIX, SOCK_STREAM)
            connection.sock.settimeout(_CALL_S)
            connection.sock.connect(bind.removeprefix("unix:"))
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError as exc:
        raise Trouble(
            f"it does not answer: {exc.strerror or exc}", "Is it running? See its log, runner.log."
        ) from None
    finally:
        connection.close()
    return f"answers {status}"


def _password(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""
