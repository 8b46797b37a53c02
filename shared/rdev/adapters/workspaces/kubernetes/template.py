"""Templates: what a project's workspace is made of, as an operator writes it down."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rdev.errors import InvalidRequest

_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"

Quantity = Annotated[str, Field(pattern=_QUANTITY)]
ObjectName = Annotated[str, Field(pattern=_NAME)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(_Part):
    """What a workspace may use up; it is promised as much, but of CPU a tenth."""

    cpu: Quantity = "2"
    memory: Quantity = "2Gi"
    ephemeral_storage: Quantity = "2Gi"
    cpu_request: Quantity = "200m"


class Volume(_Part):
    """Where its files lie; they outlive the pod."""

    size: Quantity = "10Gi"
    storage_class: ObjectName | None = None


class Toleration(_Part):
    key: str
    operator: Annotated[str, Field(pattern="^(Exists|Equal)$")] = "Exists"
    value: str | None = None
    effect: Annotated[str, Field(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$")] | None = None


class Template(_Part):
    """One named template. Every field but the image has a default that is safe."""

    image: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^\S+$")]
    resources: Resources = Resources()
    volume: Volume = Volume()
    env_from_secrets: Annotated[list[ObjectName], Field(max_length=32)] = []
    """Secrets of the namespace, as the container's environment."""
    image_pull_secrets: Annotated[list[ObjectName], Field(max_length=8)] = []
    node_selector: dict[str, str] = {}
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    runtime_class: ObjectName | None = None
    """Such as `gvisor` or `kata`, where the cluster has them."""
    user: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1000
    """The uid and gid of all that runs; never root."""
    read_only_root: bool = True
    """Whether only the volume and /tmp can be written to."""
    root: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]{1,200}$")] = "/data"
    """Where the volume is mounted; `workspace` below it is where commands run."""


def parse(name: str, raw: Any) -> Template:
    """Raises InvalidRequest, naming the template and each field that is wrong."""
    if not isinstance(raw, dict):
        raise InvalidRequest.field("template", f"{name}: is no mapping of fields to values")
    try:
        return Template.model_validate(raw)
    except ValidationError as exc:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in exc.errors(include_url=False, include_input=False)
        )
        raise InvalidRequest.field("template", f"{name}: {wrong}") from exc
