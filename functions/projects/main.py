"""Projects: list, get, create, delete."""

from typing import Any

import flask
import functions_framework
from flask import Blueprint, Response

from rdev import wiring
from rdev.config import settings
from rdev.domain.projects import Project
from rdev.domain.records import timestamp
from rdev.http import envelope, parsing
from rdev.http.auth import require
from rdev.http.function import install, no_such_route
from rdev.http.models import CreateProject, Page

blueprint = Blueprint("projects", __name__, url_prefix="/projects")


@blueprint.get("")
def list_projects() -> Response:
    """List the projects that the key may see, by name."""
    by = require("projects:read")
    page = parsing.query(Page)
    shown, cursor = wiring.projects().list(by, after=page.cursor, limit=page.limit)
    return envelope.data([_shown(project) for project in shown], next_cursor=cursor)


@blueprint.post("")
def create_project() -> Response:
    """Create a project and its workspace."""
    by = require("projects:write")
    asked = parsing.body(CreateProject)
    project = wiring.projects().create(
        by,
        asked.id,
        git_url=asked.git_url,
        env=asked.env,
        max_concurrent=asked.max_concurrent,
    )
    response = envelope.data(_shown(project), 201)
    response.headers["Location"] = f"/projects/{project.id}"
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


def _shown(project: Project) -> dict[str, Any]:
    """Of the environment only the names: values may be secrets."""
    return {
        "id": project.id,
        "workspace": settings().workspaces,
        "git_url": project.git_url,
        "env": sorted(project.env),
        "max_concurrent": project.max_concurrent,
        "created_at": timestamp(project.created_at),
        "links": {
            "self": f"/projects/{project.id}",
            "commands": f"/projects/{project.id}/commands",
            "events": f"/projects/{project.id}/events",
        },
    }


install(blueprint)


@functions_framework.http
def projects(request: flask.Request) -> Response:
    """Whatever no route above takes."""
    return no_such_route(request)
