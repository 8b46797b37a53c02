"""Secrets are used in every way there is; the watch of conftest.py looks for them at the end."""

from uuid import uuid4

from http_client import SECRETS, Http
from target import Target


def test_a_secret_of_every_kind_goes_through(target: Target, api: Http, project: str) -> None:
    key = target.key("projects:read", "projects:execute")
    hidden = f"secret-{uuid4().hex}"
    record = api.finished(project, "cat >/dev/null", env={"TOKEN": hidden}, stdin=f"{hidden}\n")
    assert record["status"] == "succeeded"
    ticket = key.post(f"/projects/{project}/events/ticket").data["ticket"]
    assert {str(key.secret).encode(), hidden.encode(), ticket.encode()} <= SECRETS
    # Where a careless log line would take them from: refused, malformed and in the query.
    assert target.client(f"{key.secret}x").get("/projects").status == 401
    assert target.client().get(f"/projects?key={key.secret}").status == 401
    # And where a caller puts them by mistake: into the path, or into the request's own name.
    assert api.get(f"/keys/{key.secret}").status == 404
    mistaken = target.client().get("/projects", x_request_id=str(key.secret))
    assert mistaken.status == 401
    assert mistaken.headers["X-Request-ID"] != key.secret
    wrong = api.post(f"/projects/{project}/shell", {"command": 7, "env": {"TOKEN": hidden}})
    assert wrong.status == 400
    assert hidden.encode() not in wrong.body
    assert api.get(f"/projects/{project}/events?ticket={ticket}&after=0").status == 400
