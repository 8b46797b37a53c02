"""The stores by TLS, with the URLs of deploy/knative/secrets.example.yaml: only hosts and ports are
others here, and the authority is one of the test's own."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
import yaml

from rdev.adapters.postgres.database import Database
from rdev.adapters.redis.connect import connect, translated
from rdev.adapters.redis.key_gate import KeyGate
from rdev.config import SOURCE_ROOT
from rdev.errors import StoreUnavailable
from rdev.platform.stores import Postgres, Valkey
from tls_front import tls_front


@dataclass(frozen=True)
class Place:
    database_url: str
    redis_url: str
    authority: Path


@pytest.fixture
def place(postgres: Postgres, valkey: Valkey, redis_url: str, tmp_path: Path) -> Iterator[Place]:
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    server.set_alpn_protocols(["postgresql"])
    file = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(file)
    with (
        tls_front(server, postgres.socket_dir / ".s.PGSQL.5432", postgres=True) as database,
        tls_front(server, valkey.socket_path, postgres=False) as redis,
    ):
        yield Place(
            of_the_example("RDEV_DATABASE_URL", database, "postgres"),
            of_the_example("RDEV_REDIS_URL", redis, "0"),
            file,
        )


def of_the_example(name: str, port: int, database: str) -> str:
    documents = yaml.safe_load_all(
        (SOURCE_ROOT / "deploy/knative/secrets.example.yaml").read_text()
    )
    (url,) = (each["stringData"][name] for each in documents if name in each["stringData"])
    parts = urlsplit(url)
    user = "rdev@" if parts.username else ""
    return f"{parts.scheme}://{user}localhost:{port}/{database}?{parts.query}"


def ask_postgres(url: str) -> None:
    database = Database(url, pool_size=1, timeout_s=5)
    try:
        database.ping(5)
    finally:
        database.close()


def ask_redis(url: str) -> None:
    with translated(), connect(url) as client:
        client.ping()
    gate = KeyGate(url, timeout_s=5)
    try:
        assert gate.enter("key-1", 10).version is None
    finally:
        gate.close()


def test_the_authorities_of_the_system_are_found_where_the_image_says(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerfile = (SOURCE_ROOT / "Dockerfile").read_text()
    assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in dockerfile
    monkeypatch.setenv("SSL_CERT_FILE", str(place.authority))
    ask_postgres(place.database_url)
    ask_redis(place.redis_url)


def test_an_authority_of_ones_own_is_named_by_the_url(place: Place) -> None:
    ask_postgres(place.database_url.replace("=system", f"={place.authority}"))
    ask_redis(f"{place.redis_url}ssl_ca_certs={place.authority}")


def test_a_certificate_that_nobody_vouches_for_is_refused(place: Place) -> None:
    with pytest.raises(StoreUnavailable):
        ask_postgres(place.database_url)
    with pytest.raises(StoreUnavailable):
        ask_redis(place.redis_url)
