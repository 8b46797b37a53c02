"""The operations of `functions/projects`."""

from rdev.http import models
from rdev.http.operations import records
from rdev.http.operations.headers import LOCATION
from rdev.http.operations.operation import Operation, many, one

OPERATIONS = (
    Operation(
        "GET",
        "/projects",
        "projects.list_projects",
        "List the projects that the key may see, by name.",
        {200: many(records.Project, "A page of projects.")},
        scope="projects:read",
        query=models.Page,
    ),
    Operation(
        "POST",
        "/projects",
        "projects.create_project",
        "Create a project and its workspace.",
        {201: one(records.Project, "The new project.", LOCATION)},
        scope="projects:write",
        body=models.CreateProject,
        errors=("CONFLICT",),
    ),
    Operation(
        "GET",
        "/projects/{project_id}",
        "projects.get_project",
        "Get a project.",
        {200: one(records.Project, "The project.")},
        scope="projects:read",
    ),
    Operation(
        "DELETE",
        "/projects/{project_id}",
        "projects.delete_project",
        "Delete a project with all its files.",
        {200: one(records.DeletedProject, "It is gone.")},
        scope="projects:write",
        errors=("CONFLICT",),
        description="Its commands' records stay. Refused while one of them waits or runs.",
    ),
)
