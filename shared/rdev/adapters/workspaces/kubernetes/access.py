"""How the cluster is reached: as one of its pods, or by a kubeconfig."""

from pathlib import Path
from typing import TYPE_CHECKING

from rdev.errors import WorkspaceUnavailable

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Access:
    """`kubeconfig`: None for the service account that is mounted in every pod."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        self._kubeconfig = kubeconfig

    def client(self) -> "ApiClient":
        """A new client of its own connections: the exec of the client library swaps methods of
        the one it is given. Raises WorkspaceUnavailable where nothing says how to get there."""
        from kubernetes.client import ApiClient

        return ApiClient(self.configuration())

    def configuration(self) -> "Configuration":
        from kubernetes import config
        from kubernetes.client import Configuration

        made = Configuration()
        try:
            if self._kubeconfig is None:
                config.load_incluster_config(client_configuration=made)  # type: ignore[no-untyped-call] # theirs
            else:
                config.load_kube_config(  # type: ignore[no-untyped-call] # theirs
                    str(self._kubeconfig), client_configuration=made
                )
        except config.ConfigException as exc:
            raise WorkspaceUnavailable(
                f"The cluster cannot be reached: {exc} Set KUBECONFIG, or run in a pod that has a "
                "service account."
            ) from exc
        made.retries = False
        return made

    def namespace(self) -> str:
        """The one that the kubeconfig's current context, or this pod, lies in."""
        from kubernetes import config

        if self._kubeconfig is None:
            try:
                return _OWN_NAMESPACE.read_text().strip()
            except OSError:
                return "default"
        try:
            _, current = config.list_kube_config_contexts(  # type: ignore[no-untyped-call] # theirs
                str(self._kubeconfig)
            )
        except config.ConfigException as exc:
            raise WorkspaceUnavailable(f"The kubeconfig is not valid: {exc}") from exc
        return str(current["context"].get("namespace") or "default")


def authorization(client: "ApiClient", method: str, path: str) -> dict[str, str]:
    """The headers that say who asks, renewed where that is due. Raises WorkspaceUnavailable."""
    headers: dict[str, str] = {}
    try:
        client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
    except Exception as exc:  # whatever the kubeconfig's plugin, or a token's file, comes up with
        raise WorkspaceUnavailable(
            f"The credentials for the cluster cannot be had: {exc}. See the kubeconfig, or the "
            "service account's mounted token."
        ) from exc
    return headers
