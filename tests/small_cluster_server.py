"""A small cluster's API over HTTP: list, watch, get, create, scale and delete."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from small_cluster import NAMESPACE, SmallCluster


@contextmanager
def small_cluster(folder: Path) -> Iterator[tuple[SmallCluster, Path]]:
    """The cluster, and a kubeconfig for it."""
    cluster = SmallCluster()
    with serving(cluster, Handler, folder) as kubeconfig:
        yield cluster, kubeconfig


@contextmanager
def serving(cluster: SmallCluster, handling: type["Handler"], folder: Path) -> Iterator[Path]:
    """Its API over HTTP, and its controllers; gives the kubeconfig."""
    handler = type("Handler", (handling,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    stop = threading.Event()
    loops = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}),
        threading.Thread(target=_control, args=(cluster, stop)),
    ]
    for loop in loops:
        loop.start()
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(_kubeconfig(server.server_address[1]))
    try:
        yield kubeconfig
    finally:
        with cluster.changed:
            cluster.closed = True
            cluster.changed.notify_all()
        stop.set()
        server.shutdown()
        for loop in loops:
            loop.join()
        server.server_close()


def _control(cluster: SmallCluster, stop: threading.Event) -> None:
    while not stop.wait(0.01):
        cluster.reconcile()


def selected(raw: dict[str, Any], query: dict[str, str]) -> bool:
    """Whether it has the labels of a labelSelector: `key` and `key=value`, all of them."""
    labels = raw["metadata"].get("labels") or {}
    for each in filter(None, query.get("labelSelector", "").split(",")):
        key, equals, value = each.partition("=")
        if key not in labels or (equals and labels[key] != value.lstrip("=")):
            return False
    return True


def _kubeconfig(port: int) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [
                {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}
            ],
            "current-context": "x",
        }
    )


class Handler(BaseHTTPRequestHandler):
    cluster: SmallCluster
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as Go's servers

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if not self._let_in():
            return
        url = urlsplit(self.path)
        if url.path == "/version":
            self._answer(200, {"gitVersion": "v1.34.0"})
            return
        kind, name, _ = self._place(url.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if query.get("watch"):
            self._note("watch", kind)
            self._watch(kind, query)
        elif name:
            self._note("get", kind)
            self._answer_object(self.cluster.get(kind, name))
        else:
            self._note("list", kind)
            self._list(kind, query)

    def do_POST(self) -> None:
        body = self._body()
        if not self._let_in():
            return
        kind, _, _ = self._place(self.path)
        self._note("create", kind)
        with self.cluster.changed:
            if self.cluster.get(kind, body["metadata"]["name"]):
                self._refuse(409, "AlreadyExists")
                return
            if why := self._not_admitted(kind, body):
                self._refuse(403, "Forbidden", message=why)
                return
            body["metadata"]["generation"] = 1
            self._answer(201, self.cluster.put(kind, body))

    def _not_admitted(self, kind: str, body: dict[str, Any]) -> str:
        """Why it may not be made; empty: it may."""
        return ""

    def do_PATCH(self) -> None:
        body = self._body()
        if not self._let_in():
            return
        kind, name, part = self._place(self.path)
        self._note("patch", f"{kind}/{part}" if part else kind)
        with self.cluster.changed:
            found = self.cluster.get(kind, name)
            if found is None:
                self._refuse(404, "NotFound")
                return
            wanted = body.get("metadata", {}).get("resourceVersion")
            if wanted not in (None, found["metadata"]["resourceVersion"]):
                self._refuse(409, "Conflict")
                return
            if found["spec"]["replicas"] != body["spec"]["replicas"]:
                found = json.loads(json.dumps(found))
                found["spec"]["replicas"] = body["spec"]["replicas"]
                found["metadata"]["generation"] += 1
                self.cluster.put(kind, found)
            self._answer(200, found)

    def do_DELETE(self) -> None:
        body = self._body()
        if not self._let_in():
            return
        kind, name, _ = self._place(self.path)
        self._note("delete", kind)
        with self.cluster.changed:
            found = self.cluster.get(kind, name)
            uid = body.get("preconditions", {}).get("uid")
            if found is None:
                self._refuse(404, "NotFound")
            elif self.cluster.keeps == kind or uid not in (None, found["metadata"]["uid"]):
                self._refuse(409, "Conflict")
            else:
                self.cluster.delete(kind, name)
                self._answer(200, {"kind": "Status"})

    def _place(self, path: str) -> tuple[str, str, str]:
        _, *parts = urlsplit(path).path.split("/namespaces/")[1].split("/")
        return (*parts, "", "")[:3]  # type: ignore[return-value]

    def _within(self, raw: dict[str, Any]) -> bool:
        """Whether an object lies in the namespace that is asked about."""
        _, _, asked = urlsplit(self.path).path.partition("/namespaces/")
        return not asked or raw["metadata"]["namespace"] == asked.partition("/")[0]

    def _note(self, verb: str, resource: str) -> None:
        self.cluster.requests.append((verb, resource))

    def _let_in(self) -> bool:
        if self.cluster.away:
            self.close_connection = True
            return False
        if self.cluster.busy_s:
            self._refuse(429, "TooManyRequests", {"Retry-After": str(self.cluster.busy_s)})
            return False
        if self.headers["Authorization"] != "Bearer secret":
            self._refuse(401, "Unauthorized")
            return False
        return True

    def _body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        read = json.loads(self.rfile.read(length) or b"{}")
        return read if isinstance(read, dict) else {}

    def _list(self, kind: str, query: dict[str, str]) -> None:
        with self.cluster.changed:
            items = [
                raw
                for (each, _), raw in sorted(self.cluster.objects.items())
                if each == kind and selected(raw, query) and self._within(raw)
            ]
            begin = int(query.get("continue") or 0)
            end = begin + int(query.get("limit") or 500)
            meta = {"resourceVersion": str(self.cluster.version)}
            if end < len(items):
                meta["continue"] = str(end)
            self._answer(200, {"metadata": meta, "items": items[begin:end]})

    def _watch(self, kind: str, query: dict[str, str]) -> None:
        after = int(query["resourceVersion"])
        since = time.monotonic()
        until = since + float(query["timeoutSeconds"])
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        cluster = self.cluster
        if after < cluster.forgotten:
            self._event("ERROR", {"code": 410, "reason": "Expired", "metadata": {}})
            self._chunk(b"")
            return
        while time.monotonic() < until and not cluster.brief:
            with cluster.changed:
                new = [each for each in cluster.log if each[0] > after and each[2] == kind]
                if not new:
                    cluster.changed.wait(0.05)
                if cluster.closed or cluster.away or cluster.hung_up > since:
                    self.close_connection = True
                    return
            for version, event, _, raw in new:
                if selected(raw, query) and self._within(raw):
                    self._event(event, raw)
                after = version
        if not cluster.brief:
            self._event("BOOKMARK", {"metadata": {"resourceVersion": str(cluster.version)}})
        self._chunk(b"")

    def _event(self, event: str, raw: dict[str, Any]) -> None:
        self._chunk(json.dumps({"type": event, "object": raw}).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    def _answer_object(self, raw: dict[str, Any] | None) -> None:
        if raw is None:
            self._refuse(404, "NotFound")
        else:
            self._answer(200, raw)

    def _refuse(
        self, status: int, reason: str, headers: dict[str, str] | None = None, message: str = ""
    ) -> None:
        said = {"status": "Failure", "message": message or reason, "reason": reason, "code": status}
        self._answer(status, {"kind": "Status", "apiVersion": "v1", **said}, headers)

    def _answer(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
