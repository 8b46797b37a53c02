"""gunicorn's settings for `sse_app`. Apart from it, as the master reads it before any patching."""


def post_worker_init(worker):
    from rdev.http.sse import end_streams_when

    end_streams_when(lambda: not worker.alive)
