"""The smallest server of streams, for gunicorn: `gunicorn -c sse_gunicorn.py sse_app:app`."""

import os

from flask import Flask, request

from rdev.adapters.redis.connect import connect, connect_blocking
from rdev.adapters.redis.feed import Feed
from rdev.adapters.redis.streams import Streams
from rdev.config import settings
from rdev.http.sse import EventsBlueprint, frame
from rdev.services.events import Events
from rdev.services.hub import Hub

url = os.environ.get("TEST_REDIS_URL", "unix:///nowhere")
client = connect(url)
streams = Streams(client)
events = Events(Hub(Feed(client, connect_blocking(url, block_s=5)), frame), streams)
blueprint = EventsBlueprint("events", __name__)


@blueprint.get("/<project>/events")
def stream(project):
    after = request.headers.get("Last-Event-ID") or request.args.get("after")
    command = request.args.get("stream_id")
    if command:
        reader = events.command_reader(project, command, after)
    else:
        reader = events.project_reader(project, after)
    return blueprint.stream_response(reader, settings())


app = Flask(__name__)
app.register_blueprint(blueprint)
