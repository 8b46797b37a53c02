"""A Unix socket in front of a store, whose connections can be cut and held up."""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path


class Proxy:
    def __init__(self, path: Path, target: Path) -> None:
        self._target = str(target)
        self._lock = threading.Lock()
        self._links: set[socket.socket] = set()
        self._open = threading.Event()
        self._flowing = threading.Event()
        self._open.set()
        self._flowing.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o777)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, for_s: float) -> None:
        """Break all connections, and refuse new ones for a while."""
        self._open.clear()
        with self._lock:
            links = list(self._links)
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        time.sleep(for_s)
        self._open.set()

    def stall(self, for_s: float) -> None:
        """Let nothing through for a while; then go on as if nothing had been."""
        self._flowing.clear()
        time.sleep(for_s)
        self._flowing.set()

    def close(self) -> None:
        self._listener.close()
        self._flowing.set()
        self.cut(0)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            store = socket.socket(socket.AF_UNIX)
            try:
                if not self._open.is_set():
                    raise ConnectionRefusedError
                store.connect(self._target)
            except OSError:
                client.close()
                store.close()
                continue
            with self._lock:
                self._links |= {client, store}
            for source, sink in ((client, store), (store, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        for link in (source, sink):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        with self._lock:
            known = source in self._links and sink in self._links
            self._links -= {source}
        if not known:  # the other direction ended before
            source.close()
            sink.close()
