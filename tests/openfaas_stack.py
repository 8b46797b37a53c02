"""stack.yml as OpenFaaS has it, as far as rdev uses it: what is not written here is refused, since
faas-cli itself lets a mistyped field vanish. And what else must hold of it."""

import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifest_rules import TALKS_TO_THE_CLUSTER
from rdev.config import Settings
from rdev.domain.sweeps import LATE_S
from rdev.domain.wakeups import WAKES
from rdev.http.routes import FUNCTIONS
from rdev.platform.function import serving

MOUNTED = "/var/openfaas/secrets/"
MOST_FUNCTIONS = 15
"""Of the Community Edition."""
TIMES = ("read_timeout", "write_timeout", "exec_timeout")
WATCHDOG = {*TIMES, "healthcheck_interval", "prefix_logs", "log_buffer_size"}
STREAM_S, WAIT_S, SPARE_S = 570, 50, 10


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Provider(Strict):
    name: Literal["openfaas"]
    gateway: str = Field(pattern="^https?://")


class BuildArgs(Strict):
    FUNCTION: str
    STAGE: Literal["openfaas"]


class Resources(Strict):
    cpu: str = Field(default="1m", pattern=r"^\d+m$")
    memory: str = Field(pattern=r"^\d+(Mi|Gi)$")


class Labels(Strict):
    min: str = Field(alias="com.openfaas.scale.min", pattern=r"^[1-9]\d*$")
    max: str = Field(alias="com.openfaas.scale.max", pattern=r"^[1-9]\d*$")
    type: Literal["capacity", "rps", "cpu"] = Field(alias="com.openfaas.scale.type")
    target: str = Field(alias="com.openfaas.scale.target", pattern=r"^[1-9]\d*$")
    zero: Literal["true", "false"] = Field(alias="com.openfaas.scale.zero")
    zero_duration: str = Field(alias="com.openfaas.scale.zero-duration", pattern=r"^\d+m$")


class Annotations(Strict):
    topic: Literal["cron-function"] | None = None
    schedule: str | None = None
    routes: str = Field(default="", alias="dev.rdev.routes")


class Function(Strict):
    lang: Literal["dockerfile"]
    handler: Literal["."]
    image: str = Field(pattern=r"^\S+/\S+:\d+\.\d+\.\d+$")
    build_args: BuildArgs
    environment: dict[str, str]
    secrets: list[str]
    labels: Labels
    annotations: Annotations
    requests: Resources
    limits: Resources
    readonly_root_filesystem: Literal[True]


class Stack(Strict):
    version: Literal["1.0"]
    provider: Provider
    functions: dict[str, Function] = Field(max_length=MOST_FUNCTIONS)


def problems(document: dict[str, Any]) -> list[str]:
    try:
        stack = Stack.model_validate(document)
    except ValidationError as exc:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in exc.errors()]
    return [text for rule in RULES for text in rule(stack.functions)]


def _serves_every_function(functions: dict[str, Function]) -> Iterator[str]:
    wanted = {f"rdev-{name}" for name in (*FUNCTIONS, "runner")}
    yield from (f"{name} is not there" for name in wanted - set(functions))
    yield from (f"{name} is none of ours" for name in set(functions) - wanted)
    for name, function in functions.items():
        noun = name.removeprefix("rdev-")
        if noun != function.build_args.FUNCTION:
            yield f"{name} is built as {function.build_args.FUNCTION}"
        if f"-{noun}:" not in function.image:
            yield f"{name} has the image of another"


def _knows_its_settings(functions: dict[str, Function]) -> Iterator[str]:
    known = {f"RDEV_{field.upper()}" for field in Settings.model_fields} | WATCHDOG
    for name, function in functions.items():
        yield from (f"{name}: no {each}" for each in set(function.environment) - known)


def _mounts_the_secrets_that_it_reads(functions: dict[str, Function]) -> Iterator[str]:
    for name, function in functions.items():
        read = {
            value.removeprefix(MOUNTED)
            for value in function.environment.values()
            if value.startswith(MOUNTED)
        }
        yield from (f"{name}: {each} is not mounted" for each in read - set(function.secrets))
        yield from (f"{name}: nobody reads {each}" for each in set(function.secrets) - read)
        if ("rdev-kubeconfig" in read) != (name.removeprefix("rdev-") in TALKS_TO_THE_CLUSTER):
            yield f"{name}: the way to the cluster"


def _has_time_for_what_it_does(functions: dict[str, Function]) -> Iterator[str]:
    for name, function in functions.items():
        needs_s = WAIT_S
        if name == "rdev-events":
            needs_s = STREAM_S
        for woken, setting in (("runner", "RDEV_DRAIN_FOR_S"), ("webhooks", "RDEV_DELIVER_FOR_S")):
            if name == f"rdev-{woken}":
                needs_s = int(function.environment[setting])
        for limit in TIMES:
            if int(re.sub("s$", "", function.environment.get(limit, "30s"))) < needs_s + SPARE_S:
                yield f"{name}: {limit} is below the {needs_s} s that it may need"


def _is_woken(functions: dict[str, Function]) -> Iterator[str]:
    for name, function in functions.items():
        swept = function.annotations.topic is not None
        if swept != (name.removeprefix("rdev-") in WAKES.values()):
            yield f"{name}: the cron connector"
        every = re.fullmatch(r"\*/(\d+)( \*){4}", function.annotations.schedule or "")
        if swept and (every is None or int(every[1]) * 60 > LATE_S - 60):
            yield f"{name}: no schedule that comes before a sweep is late"
        if every and int(function.labels.zero_duration[:-1]) >= int(every[1]):
            yield f"{name} never comes to zero"
        url = function.environment.get("RDEV_BROKER_URL", "")
        for noun in WAKES.values():
            at = url.replace("{function}", noun)
            if "/async-function/" not in at or at.rpartition("/")[2] not in functions:
                yield f"{name}: its wake-ups for {noun} go nowhere"


def _lets_in_no_more_than_is_served(functions: dict[str, Function]) -> Iterator[str]:
    for name, function in functions.items():
        if int(function.labels.target) > serving(name.removeprefix("rdev-")).at_once:
            yield f"{name}: a target above what one replica serves"


RULES = (
    _serves_every_function, _knows_its_settings, _mounts_the_secrets_that_it_reads,
    _has_time_for_what_it_does, _is_woken, _lets_in_no_more_than_is_served,
)  # fmt: skip
