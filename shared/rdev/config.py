"""Settings: the only reader of the environment.

Every field is `RDEV_<NAME>` in the environment. What is secret may also come from a file, named by
`RDEV_<NAME>_FILE` (Kubernetes, OpenFaaS and Compose mount secrets as files).
"""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from rdev.domain.addresses import parse_networks

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The checkout (or the image's /app): where `functions/` and `migrations/` lie."""

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")  # as browsers send it: no path


def _listed(value: str) -> list[str]:
    """What stands between the commas."""
    return [text for part in value.split(",") if (text := part.strip())]


def variable(name: str) -> str:
    """The environment's name for a setting."""
    return f"RDEV_{name.upper()}"


class Settings(BaseModel):
    """What a process of rdev needs to know. Immutable; read once."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=variable),
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,  # it may be a secret
    )

    database_url: SecretStr = SecretStr("postgresql://rdev@127.0.0.1:5432/rdev")
    """A libpq URL or connection string."""
    database_url_file: Path | None = None
    database_pool_size: int = Field(default=8, ge=1)
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """redis://, rediss:// or unix://; Redis or Valkey from 7.2."""
    redis_url_file: Path | None = None
    store_timeout_s: float = Field(default=5.0, gt=0)
    """No answer of a store is waited for longer, nor a free connection to it."""

    pepper: SecretStr = SecretStr("")
    """Keys the HMAC under which API keys are stored. At least 32 characters. To replace it: one a
    line, the new one first, each as `VERSION:PEPPER`; one without a version is version 1."""
    pepper_file: Path | None = None

    max_body_bytes: int = 2 * 1024 * 1024
    request_timeout_s: float = Field(default=30.0, gt=0)
    """How long a request's body, and a connection's first headers, may take to arrive."""
    cors_origins: str = ""
    """Origins, with commas between, whose pages may call this API from a browser."""

    workspaces: str = Field(default="local", pattern="^(local|kubernetes)$")
    """Which kind of workspace projects get."""
    workspaces_dir: Path = Path(".rdev/workspaces")
    """`local`: a folder a project."""
    commands_dir: Path = Path(".rdev/commands")
    """`local`: where the supervisor keeps the files of running commands."""

    kubeconfig: Path | None = Field(
        default=None, validation_alias=AliasChoices("RDEV_KUBECONFIG", "KUBECONFIG")
    )
    """`kubernetes`: how to reach the cluster; none: as a pod of it, with its service account."""
    kubernetes_namespaces: str = ""
    """`kubernetes`: where projects are looked for, with commas between; they are made in the
    first. Empty: the kubeconfig's or the pod's own namespace."""
    kubernetes_templates: str = "rdev-templates"
    """`kubernetes`: the ConfigMap that holds the templates."""
    kubernetes_image: str = "docker.io/library/buildpack-deps:bookworm-scm"
    """`kubernetes`: what runs where there is no template `default`."""
    kubernetes_timeout_s: float = Field(default=5.0, gt=0)
    """No call of the API waits longer for its answer."""
    idle_stop_s: float = Field(default=0.0, ge=0)
    """After so long without a command a workspace is stopped, where it can be; 0: never."""
    workspace_start_s: float = Field(default=600.0, gt=0)
    """How long a command waits in the queue for its workspace to come up."""

    archive_url: SecretStr = SecretStr(".rdev/archive")
    """Where commands' output goes for good: a folder, or s3://, gs:// or az:// as obstore takes
    it; endpoint, region and credentials under the provider's own names (AWS_ENDPOINT_URL, ...)."""
    archive_credentials: SecretStr = SecretStr("")
    """The same names, as `NAME=value`, one a line; they go before the environment's."""
    archive_credentials_file: Path | None = None
    archive_timeout_s: float = Field(default=10.0, gt=0)
    archive_retention_days: float = Field(default=30.0, ge=0)
    """How long output is kept after a command's end; 0: for ever. Records stay."""
    stream_keep_s: int = Field(default=900, ge=1)
    """How long after its end Redis still holds the last of a command's output."""

    broker_url: str = Field(
        default="",
        validation_alias=AliasChoices("RDEV_BROKER_URL", "K_SINK"),
        pattern="^(https?://.*)?$",
    )
    """Where wake-ups go as CloudEvents; empty: nowhere, for a resident runner needs none."""
    runner_slots: int = Field(default=16, ge=1)
    """How many commands one runner sees through at once."""
    lease_s: float = Field(default=10.0, gt=0)
    renew_s: float = Field(default=3.0, gt=0)
    sweep_s: float = Field(default=5.0, gt=0)
    """How often a resident runner looks for what fell through."""
    drain_for_s: float = Field(default=240.0, gt=0)
    """How long a woken runner works inside one request."""
    kill_grace_s: float = Field(default=5.0, ge=0)
    """From TERM to KILL, at a cancel or a timeout."""
    drain_s: float = Field(default=0.5, ge=0)
    """How long a command's survivors may go on writing after it ended, before they are killed."""
    default_timeout_s: float = Field(default=3600.0, gt=0)

    trusted_proxies: str = ""
    """CIDRs, with commas between, of the proxies whose X-Forwarded-For is believed."""
    default_rate_limit: int = Field(default=10, ge=1)
    """Requests in any second, for a key without a limit of its own."""
    free_failures: int = Field(default=10, ge=0)
    """Failed attempts to authenticate a minute from one address that are answered at once; each
    further one is answered later, up to a second."""
    default_max_concurrent: int = Field(default=5, ge=1)
    queue_depth: int = Field(default=100, ge=1)
    """How many commands of one key may wait."""

    deliver_at_once: int = Field(default=20, ge=1)
    """How many webhooks one process sends at once."""
    deliver_for_s: float = Field(default=240.0, gt=0)
    """How long a woken webhooks function sends inside one request."""
    webhook_allow_cidrs: str = ""
    """CIDRs, with commas between, that webhooks may go to although they are not public."""
    webhook_allow_http: bool = False
    """Whether webhooks may go out in plain http."""
    webhook_timeout_s: float = Field(default=15.0, gt=0)
    """An attempt is over by then, however slowly the receiver takes or answers it."""
    webhook_connect_timeout_s: float = Field(default=5.0, gt=0)
    """How long looking a receiver's name up may take, and then connecting, TLS included."""
    webhook_max_concurrent: int = Field(default=4, ge=1)
    """Requests to one endpoint at once, where it has no limit of its own."""
    webhook_schedule_s: str = Field(
        default="0,5,300,1800,7200,18000,36000,50400,72000,86400",
        pattern=r"^0(\.0)?(,\d+(\.\d+)?)*$",
    )
    """The delay before each attempt, after the one before; as Standard Webhooks has it."""
    webhook_breaker_failures: int = Field(default=5, ge=1)
    """So many failures in a row have an endpoint left alone for a while."""
    webhook_breaker_s: float = Field(default=30.0, gt=0)
    """For how long at first; doubled with each probe that fails, up to ten minutes."""
    webhook_disable_after_days: float = Field(default=5.0, ge=0)
    """An endpoint that has taken nothing for so long is disabled; 0: never."""
    webhook_retention_days: float = Field(default=30.0, ge=0)
    """How long events, deliveries and attempts are kept; 0: for ever."""

    sse_heartbeat_s: float = Field(default=15.0, gt=0)
    sse_max_age_s: float = Field(default=570.0, gt=0)
    """A stream ends at a random age of 80 to 100 % of this; clients resume."""
    sse_write_timeout_s: float = Field(default=10.0, gt=0)
    """A reader that takes nothing for this long is disconnected."""

    audit_command_text: str = Field(default="full", pattern="^(full|hashed|off)$")
    """What the audit log holds of what a command runs: its text with secrets masked, a hash of
    it, or nothing."""
    audit_retention_days: float = Field(default=0.0, ge=0)
    """How long the audit log is kept; 0: for ever."""

    process: str = Field(
        default="functions",
        validation_alias=AliasChoices("RDEV_PROCESS", "FUNCTION_TARGET"),
        pattern="^[a-z]{1,32}$",
    )
    """What this process is, for whoever reads its metrics."""
    metrics_dir: Path | None = None
    """A folder that processes of one machine share: each answers /metrics for all of them."""

    log_format: str = Field(default="auto", pattern="^(auto|json|text)$")
    """auto: text on a terminal, JSON elsewhere."""
    log_level: str = Field(default="info", pattern="^(?i:debug|info|warning|error|critical)$")

    @property
    def cors_allowed_origins(self) -> list[str]:
        return _listed(self.cors_origins)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for part in _listed(value):
            if not _ORIGIN.fullmatch(part):
                raise ValueError(f"{part!r} is no origin, such as https://example.com")
        return value

    @property
    def project_namespaces(self) -> list[str]:
        return _listed(self.kubernetes_namespaces)

    @property
    def trusted_proxy_networks(self) -> list[str]:
        return _listed(self.trusted_proxies)

    @property
    def webhook_allow_networks(self) -> list[str]:
        return _listed(self.webhook_allow_cidrs)

    @property
    def webhook_delays_s(self) -> tuple[float, ...]:
        return tuple(float(part) for part in self.webhook_schedule_s.split(","))

    @field_validator("trusted_proxies", "webhook_allow_cidrs")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        parse_networks(_listed(value))
        return value

    @property
    def archive_options(self) -> dict[str, str]:
        lines = self.archive_credentials.get_secret_value().splitlines()
        pairs = (line.partition("=") for line in lines if line.strip())
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, environment: Mapping[str, str]) -> dict[str, str]:
        values = dict(environment)
        for name in map(variable, ("pepper", "database_url", "redis_url", "archive_credentials")):
            file = values.get(f"{name}_FILE")
            if file and not values.get(name):
                try:
                    values[name] = Path(file).read_text().strip()
                except (OSError, ValueError) as exc:
                    raise ValueError(f"{name}_FILE: {exc}") from exc
        return values


def read(environment: Mapping[str, str]) -> Settings:
    """Raises pydantic's ValidationError, which names the variables and shows no value."""
    return Settings.model_validate(environment)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """This process's settings, read from the environment at the first call."""
    return read(os.environ)
