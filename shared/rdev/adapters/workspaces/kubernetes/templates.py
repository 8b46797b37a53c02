"""The named templates: a ConfigMap with one entry each, as YAML or JSON."""

from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.api import Api, ApiRefused
from rdev.adapters.workspaces.kubernetes.template import Template, parse
from rdev.errors import InvalidRequest

DEFAULT = "default"
_NOT_FOUND = 404


class Templates:
    """Read when a project is made: a change holds for the next one."""

    def __init__(self, api: Api, namespace: str, config_map: str, *, image: str) -> None:
        """`image`: of the template `default`, where the ConfigMap has none of that name."""
        self._api = api
        self._path = names.config_map_path(namespace, config_map)
        self._where = f"the ConfigMap {namespace}/{config_map}"
        self._image = image

    def get(self, name: str | None) -> Template:
        """Raises InvalidRequest where it is not there, or not valid."""
        import yaml

        wanted = name or DEFAULT
        written = self._written()
        if wanted not in written:
            if wanted == DEFAULT:
                return Template(image=self._image)
            there = ", ".join(sorted({*written, DEFAULT}))
            raise InvalidRequest.field("template", f"{wanted} is not in {self._where}: {there}")
        try:
            raw = yaml.safe_load(written[wanted])
        except yaml.YAMLError as exc:
            where = getattr(exc, "problem_mark", None)
            line = f", line {where.line + 1}" if where else ""
            raise InvalidRequest.field("template", f"{wanted}: no valid YAML{line}") from exc
        return parse(wanted, raw)

    def _written(self) -> dict[str, str]:
        try:
            return dict(self._api.get(self._path).get("data") or {})
        except ApiRefused as exc:
            if exc.status == _NOT_FOUND:
                return {}
            raise
