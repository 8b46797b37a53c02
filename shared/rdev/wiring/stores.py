"""The stores and the workspaces: the outside world, as the services know it."""

from typing import TYPE_CHECKING

from rdev.config import settings
from rdev.wiring.parts import once

if TYPE_CHECKING:
    import redis

    from rdev.adapters.archive.objects import ObjectArchive
    from rdev.adapters.postgres.database import Database
    from rdev.adapters.redis.streams import Streams
    from rdev.adapters.redis.tickets import Tickets
    from rdev.adapters.workspaces.kubernetes.access import Access
    from rdev.adapters.workspaces.kubernetes.api import Api
    from rdev.adapters.workspaces.kubernetes.pod_commands import PodCommands
    from rdev.adapters.workspaces.kubernetes.view import View
    from rdev.adapters.workspaces.kubernetes.workspaces import KubernetesWorkspaces
    from rdev.ports import Workspaces

_BLOCK_S = 5.0


@once
def database() -> "Database":
    from rdev.adapters.postgres.database import Database

    s = settings()
    database = Database(
        s.database_url.get_secret_value(),
        pool_size=s.database_pool_size,
        timeout_s=s.store_timeout_s,
        on_delivery=_call_senders,
        audit_command_text=s.audit_command_text,
    )
    database.watch_pool()
    return database


def _call_senders() -> None:
    from rdev.wiring.delivering import call_senders

    call_senders()


@once
def redis_client() -> "redis.Redis":
    from rdev.adapters.redis.connect import connect, watch_pool

    client = connect(settings().redis_url.get_secret_value(), timeout_s=settings().store_timeout_s)
    watch_pool(client, "calls")
    return client


@once
def redis_blocking() -> "redis.Redis":
    from rdev.adapters.redis.connect import connect_blocking, watch_pool

    client = connect_blocking(settings().redis_url.get_secret_value(), block_s=_BLOCK_S)
    watch_pool(client, "blocking")
    return client


@once
def streams() -> "Streams":
    from rdev.adapters.redis.streams import Streams

    return Streams(redis_client())


@once
def tickets() -> "Tickets":
    from rdev.adapters.redis.tickets import Tickets

    return Tickets(redis_client(), redis_blocking())


@once
def archive() -> "ObjectArchive":
    from rdev.adapters.archive.objects import ObjectArchive

    s = settings()
    return ObjectArchive(
        s.archive_url.get_secret_value(), timeout_s=s.archive_timeout_s, options=s.archive_options
    )


@once
def workspaces() -> "Workspaces":
    s = settings()
    if s.workspaces == "kubernetes":
        return kubernetes_workspaces()
    from rdev.adapters.workspaces.local import LocalWorkspaces

    return LocalWorkspaces(s.workspaces_dir, s.commands_dir, drain_s=s.drain_s)


@once
def kubernetes_access() -> "Access":
    from rdev.adapters.workspaces.kubernetes.access import Access

    return Access(settings().kubeconfig)


@once
def kubernetes_api() -> "Api":
    from rdev.adapters.workspaces.kubernetes.api import Api

    return Api(kubernetes_access().client, timeout_s=settings().kubernetes_timeout_s)


@once
def kubernetes_view() -> "View":
    from rdev.adapters.workspaces.kubernetes.view import View

    s = settings()
    return View(kubernetes_api(), s.project_namespaces or [kubernetes_access().namespace()])


@once
def pod_commands() -> "PodCommands":
    from rdev.adapters.workspaces.kubernetes.exec import Execs
    from rdev.adapters.workspaces.kubernetes.pod_commands import PodCommands

    execs = Execs(kubernetes_access().client, kubernetes_api())
    return PodCommands(execs, kubernetes_view(), drain_s=settings().drain_s)


@once
def kubernetes_workspaces() -> "KubernetesWorkspaces":
    """Asks the cluster nothing yet: that is for the first need."""
    from rdev.adapters.workspaces.kubernetes.templates import Templates
    from rdev.adapters.workspaces.kubernetes.workspaces import KubernetesWorkspaces

    s = settings()
    api, view = kubernetes_api(), kubernetes_view()
    return KubernetesWorkspaces(
        api,
        view,
        Templates(api, view.namespaces[0], s.kubernetes_templates, image=s.kubernetes_image),
        pod_commands(),
    )
