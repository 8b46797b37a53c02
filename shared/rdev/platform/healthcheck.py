"""Whether what listens on PORT here takes requests: `python -m rdev.platform.healthcheck`, for
container engines. Whether the stores answer too is what /ready says."""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

_LIMIT_S = 2.0
"""For the connection, and again for the answer: together below what Compose gives it."""


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    listened = os.environ.get("PORT", "8080")
    if not answers(int(listened)):
        sys.exit(f"rdev: /health on port {listened} does not answer 200")
