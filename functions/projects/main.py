"""Projects: list, get, create, delete; their workspaces started and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask
import functions_framework
from flask import Blueprint, Response

from rdev import wiring
from rdev.config import settings
from rdev.domain.instants import timestamp
from rdev.domain.records import shown
from rdev.domain.redaction import redact
from rdev.domain.workspaces import State, WorkspaceState
from rdev.http import envelope, parsing
from rdev.http.auth import require
from rdev.http.function import install, no_such_route
from rdev.http.models import CreateProject, Page
from rdev.services.projects import Seen

if TYPE_CHECKING:
    from rdev.domain.commands import Command

blueprint = Blueprint("projects", __name__, url_prefix="/projects")


@blueprint.get("")
def list_projects() -> Response:
    """List the projects that the key may see, by name."""
    by = require("projects:read")
    page = parsing.query(Page)
    found, cursor = wiring.projects().list(by, after=page.cursor, limit=page.limit)
    return envelope.data([_shown(seen) for seen in found], next_cursor=cursor)


@blueprint.post("")
def create_project() -> Response:
    """Create a project and its workspace."""
    by = require("projects:write")
    asked = parsing.body(CreateProject)
    seen = wiring.projects().create(
        by,
        asked.id,
        git_url=asked.git_url,
        env=asked.env,
        max_concurrent=asked.max_concurrent,
        template=asked.template,
    )
    response = envelope.data(_shown(seen), 201)
    response.headers["Location"] = f"/projects/{asked.id}"
    return response


@blueprint.get("/<project_id>")
def get_project(project_id: str) -> Response:
    """Get a project."""
    by = require("projects:read")
    return envelope.data(_shown(wiring.projects().get(by, project_id)))


@blueprint.delete("/<project_id>")
def delete_project(project_id: str) -> Response:
    """Delete a project with all its files. Its commands' records stay."""
    by = require("projects:write")
    wiring.projects().delete(by, project_id)
    return envelope.data({"id": project_id, "deleted": True})


@blueprint.post("/<project_id>/start")
def start_project(project_id: str) -> Response:
    """Have a project's workspace started; running already is no error."""
    by = require("projects:write")
    return _told(project_id, wiring.lifecycle().start(by, project_id))


@blueprint.post("/<project_id>/stop")
def stop_project(project_id: str) -> Response:
    """Have a project's workspace go to zero, its files kept. The next command starts it again."""
    by = require("projects:write")
    return _told(project_id, wiring.lifecycle().stop(by, project_id))


def _told(project_id: str, state: WorkspaceState) -> Response:
    """202 while it is on its way."""
    settled = state.state in (State.RUNNING, State.STOPPED)
    return envelope.data({"id": project_id, "status": shown(state)}, 200 if settled else 202)


def _shown(seen: Seen) -> dict[str, Any]:
    """Of the environment only the names: values may be secrets. So may be what stands in a URL."""
    project = seen.project
    return {
        "id": project.id,
        "workspace": settings().workspaces,
        "status": shown(seen.state),
        "template": project.template,
        "git_url": None if project.git_url is None else redact(project.git_url),
        "setup": _setup(project.id, seen.setup),
        "env": sorted(project.env),
        "max_concurrent": project.max_concurrent,
        "created_at": timestamp(project.created_at),
        "links": {
            "self": f"/projects/{project.id}",
            "commands": f"/projects/{project.id}/commands",
            "events": f"/projects/{project.id}/events",
        },
    }


def _setup(project_id: str, command: Command | None) -> dict[str, Any] | None:
    if command is None:
        return None
    path = f"/projects/{project_id}/commands/{command.id}"
    links = {"self": path, "output": f"{path}/output"}
    reason, message = command.reason, command.reason_message
    return {
        "command": command.id,
        "status": command.status.value,
        "reason": reason,
        "message": message,
        "links": links,
    }


install(blueprint)


@functions_framework.http
def projects(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
