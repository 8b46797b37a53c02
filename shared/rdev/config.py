"""Settings: the only reader of the environment.

Every field is `RDEV_<NAME>` in the environment. The pepper may also come from a file, named by
`RDEV_PEPPER_FILE` (Kubernetes and OpenFaaS mount secrets as files).
"""

from functools import lru_cache
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The checkout (or the image's /app): where `functions/` and `migrations/` lie."""


class Settings(BaseSettings):
    """What a process of rdev needs to know. Immutable; read once."""

    model_config = SettingsConfigDict(env_prefix="RDEV_", frozen=True, extra="ignore")

    database_url: SecretStr = SecretStr("postgresql://rdev@127.0.0.1:5432/rdev")
    """A libpq URL or connection string."""
    database_pool_size: int = Field(default=8, ge=1)
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """redis://, rediss:// or unix://; Redis or Valkey from 7.2."""
    store_timeout_s: float = Field(default=5.0, gt=0)
    """No request waits longer than this for a store."""

    pepper: SecretStr = SecretStr("")
    """Keys the HMAC under which API keys are stored. At least 32 characters."""
    pepper_file: Path | None = None

    max_body_bytes: int = 2 * 1024 * 1024

    workspaces: str = Field(default="local", pattern="^local$")
    """Which kind of workspace projects get."""
    workspaces_dir: Path = Path(".rdev/workspaces")
    """`local`: a folder a project."""
    commands_dir: Path = Path(".rdev/commands")
    """`local`: where the supervisor keeps the files of running commands."""

    archive_url: SecretStr = SecretStr(".rdev/archive")
    """Where commands' output goes for good: a folder, or s3://, gs:// or az:// as obstore takes
    it; endpoint, region and credentials under the provider's own names (AWS_ENDPOINT_URL, ...)."""
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

    default_max_concurrent: int = Field(default=5, ge=1)
    queue_depth: int = Field(default=100, ge=1)
    """How many commands of one key may wait."""

    sse_heartbeat_s: float = Field(default=15.0, gt=0)
    sse_max_age_s: float = Field(default=570.0, gt=0)
    """A stream ends at a random age of 80 to 100 % of this; clients resume."""
    sse_write_timeout_s: float = Field(default=10.0, gt=0)
    """A reader that takes nothing for this long is disconnected."""

    log_format: str = Field(default="json", pattern="^(json|text)$")
    log_level: str = "info"

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, values: dict[str, object]) -> dict[str, object]:
        if not values.get("pepper") and values.get("pepper_file"):
            values["pepper"] = Path(str(values["pepper_file"])).read_text().strip()
        return values


@lru_cache(maxsize=1)
def settings() -> Settings:
    """This process's settings, read from the environment at the first call."""
    return Settings()
