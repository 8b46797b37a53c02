"""functions-framework's hello, served as the image serves a function: alone, on threads, or under
gevent as it serves `events` (HELLO_GEVENT)."""

import os

if os.environ.get("HELLO_GEVENT"):
    from gevent import monkey

    monkey.patch_all()

import functions_framework
from gunicorn.app.base import BaseApplication


@functions_framework.http
def hello(_request):
    return "Hello, World!"


def load():
    return functions_framework.create_app("hello", __file__)


class _Hello(BaseApplication):
    def load_config(self) -> None:
        options = {
            "bind": f"127.0.0.1:{os.environ['PORT']}",
            "workers": 1,
            **(
                {"worker_class": "gevent", "worker_connections": 1000}
                if os.environ.get("HELLO_GEVENT")
                else {"worker_class": "gthread", "threads": 16}
            ),
            "timeout": 0,
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self):
        return load()


if __name__ == "__main__":
    _Hello().run()
