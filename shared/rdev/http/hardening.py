"""What stands around every function: limits before anything is parsed, and the headers that keep
browsers out of trouble. As WSGI middleware, so that it holds for the framework's answers too."""

from rdev.config import Settings
from rdev.http.body_limit import BodyLimit
from rdev.http.cors import Cors
from rdev.http.headers import SecurityHeaders
from rdev.http.middleware import WSGI
from rdev.http.request_limits import RequestLimits


def hardened(app: WSGI, config: Settings) -> WSGI:
    app = BodyLimit(app, config.max_body_bytes, config.request_timeout_s)
    app = RequestLimits(app)
    origins = config.cors_allowed_origins
    if origins:
        app = Cors(app, origins)
    return SecurityHeaders(app)
