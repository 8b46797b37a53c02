"""A proxy that passes an answer on once it has all of it, as some do by default."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def buffering(port: int, *, date: str | None = None) -> Iterator[str]:
    """Its URL, in front of that port. `date`: what it says in the header, in place of the truth."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behind = HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                behind.request("GET", self.path, headers=dict(self.headers))
                answer = behind.getresponse()
                body = answer.read()
            except OSError:
                return  # a stream that goes on for longer than anybody waits
            finally:
                behind.close()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name not in ("Transfer-Encoding", "Connection", "Content-Length", "Date"):
                    self.send_header(name, value)
            self.send_header("Date", date or self.date_time_string())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
