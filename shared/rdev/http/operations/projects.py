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
        description="Its commands' records stay. Refused while one of them waits or runs. One that "
        "could not be done (503) is gone on with by the next, and by rdev itself.",
    ),
    Operation(
        "POST",
        "/projects/{project_id}/start",
        "projects.start_project",
        "Have a project's workspace started; running already is no error.",
        {
            200: one(records.ProjectStatus, "It runs."),
            202: one(records.ProjectStatus, "It is on its way, or does not come up: see `reason`."),
        },
        scope="projects:write",
        errors=("CONFLICT",),
        description="Refused while the project is being deleted.",
    ),
    Operation(
        "POST",
        "/projects/{project_id}/stop",
        "projects.stop_project",
        "Have a project's workspace go to zero, its files kept.",
        {
            200: one(records.ProjectStatus, "It is stopped."),
            202: one(records.ProjectStatus, "It is on its way."),
        },
        scope="projects:write",
        errors=("CONFLICT",),
        description="The next command starts it again. Refused while a command of it waits or "
        "runs, where others made the workspace, and where it is a folder, which always runs.",
    ),
)
