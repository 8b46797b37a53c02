"""A running rdev by its address and an admin key: all that a test through the API needs to know."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from http_client import Http

GENEROUS = {"rate_limit": 100_000, "max_concurrent": 1000}


class Target:
    def __init__(self, base_url: str, admin_key: str) -> None:
        parts = urlsplit(base_url)
        assert parts.scheme == "http", f"{base_url} is no http:// address"
        assert parts.hostname, f"{base_url} names no host"
        self.base_url = base_url
        self.host: str = parts.hostname
        self.port: int = parts.port or 80
        self.admin_key = admin_key
        self.admin = self.client(admin_key)

    def client(self, secret: str | None = None, *, key_id: str = "") -> Http:
        """With that key, or none."""
        return Http(self.port, secret, key_id=key_id, host=self.host)

    def key(self, *scopes: str, **fields: Any) -> Http:
        """A client with a new key that nothing slows down; `key_id` names the key."""
        body = {"name": "test", "scopes": list(scopes) or ["admin"], **GENEROUS, **fields}
        made = self.admin.post("/keys", body)
        assert made.status == 201, made.body
        return self.client(made.data["key"], key_id=made.data["id"])


def given_target() -> Target | None:
    """What `RDEV_E2E_URL` names, with the admin key that is in the file `RDEV_E2E_KEY_FILE`."""
    url = os.environ.get("RDEV_E2E_URL")
    return Target(url, Path(os.environ["RDEV_E2E_KEY_FILE"]).read_text().strip()) if url else None
