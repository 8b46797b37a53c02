"""functions-framework's hello, on rdev's own server and worker: `python -m bench.hello PORT`."""

import sys

import functions_framework
from gevent import monkey
from gunicorn.app.base import BaseApplication


@functions_framework.http
def hello(_request):
    return "Hello, World!"


class _Hello(BaseApplication):
    def load_config(self) -> None:
        options = {
            "bind": f"127.0.0.1:{sys.argv[1]}",
            "workers": 1,
            "worker_class": "gevent",
            "worker_connections": 20_000,
            "timeout": 0,
            "keepalive": 75,
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self):
        return functions_framework.create_app("hello", __file__)


if __name__ == "__main__":
    monkey.patch_all()
    _Hello().run()
