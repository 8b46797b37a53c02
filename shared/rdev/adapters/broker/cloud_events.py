"""Posts wake-ups to a Broker, as CloudEvents 1.0 in binary mode (HTTP binding, section 3.1)."""

import urllib.error
import urllib.request

from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent

from rdev.domain.wakeups import WAKES
from rdev.errors import Unavailable
from rdev.ports import metrics

_TIMEOUT_S = 2.0


class Broker:
    """`url` is what Knative's SinkBinding puts into K_SINK. Where there is no Broker to tell events
    apart, `{function}` in it stands for the function that an event is for."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"RDEV_BROKER_URL must be an http or https URL, not {url!r}")
        self._url = url

    def wake(self, kind: str) -> None:
        """Post one event, once. Raises Unavailable where it was not taken within 2 s."""
        headers, body = to_binary(CloudEvent({"type": kind, "source": "/rdev"}, {}))
        request = urllib.request.Request(  # noqa: S310 - checked above
            self._url.replace("{function}", WAKES[kind]),
            data=body,
            headers=dict(headers),
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - as above
                metrics.WAKEUPS.add(kind, "sent")
        except (urllib.error.URLError, OSError) as exc:
            metrics.WAKEUPS.add(kind, "failed")
            raise Unavailable(f"The broker did not take {kind}: {exc}") from exc
