"""What must hold of compose.yaml, as Compose itself reads it; each rule yields what is wrong."""

import re
from collections.abc import Iterator
from typing import Any

from rdev.config import SOURCE_ROOT, Settings
from rdev.http.routes import FUNCTIONS

Composed = dict[str, Any]
ONE_SHOT = {"migrations", "s3-bucket", "first-key", "e2e"}
"""They end, and who needs them waits for that."""
NOTHING_TO_ASK_WITH = {"collector"}
"""An image that holds its program alone."""
SECRET_NAMES = re.compile(r"PASSWORD|PEPPER|SECRET|TOKEN|_URL$|ACCESS_KEY")
NO_SECRETS = {"RDEV_ARCHIVE_URL", "AWS_ENDPOINT_URL", "RDEV_E2E_URL"}


def has_every_function(composed: Composed) -> Iterator[str]:
    for name in (*FUNCTIONS, "runner"):
        service = composed["services"].get(name)
        if service is None:
            yield f"{name} is not there"
        elif service["build"]["args"]["FUNCTION"] != name:
            yield f"{name} is built as another function"


_VERSIONED = re.compile(r"\S+/\S+:v?\d+\.\d+(\.\d+)?(-\w+)?(@sha256:[0-9a-f]{64})?|rdev-\w+:\S+")


def names_the_version_of_each_image(composed: Composed) -> Iterator[str]:
    for name, service in composed["services"].items():
        if "build" not in service and not _VERSIONED.fullmatch(service["image"]):
            yield f"{name}: {service['image']} names no version"


def can_be_asked_how_it_is(composed: Composed) -> Iterator[str]:
    waited_for: dict[str, set[str]] = {}
    for service in composed["services"].values():
        for name, how in service.get("depends_on", {}).items():
            waited_for.setdefault(name, set()).add(how["condition"])
    for name, service in composed["services"].items():
        check = service.get("healthcheck", {})
        if name in ONE_SHOT:
            if not waited_for.get(name, {"nobody waits"}) <= {
                "service_completed_successfully",
                "nobody waits",
            }:
                yield f"{name} ends, and is waited for as if it did not"
        elif name in NOTHING_TO_ASK_WITH:
            continue
        elif "test" not in check or check["test"] == ["NONE"]:
            yield f"{name} has no health check"
        elif check["test"][0] == "CMD" and any(" " in word for word in check["test"]):
            yield f"{name}'s health check is another under Podman, which parts it at its spaces"
        elif not waited_for.get(name, {"service_healthy"}) <= {"service_healthy"}:
            yield f"{name} is waited for before it is well"


def is_held_to_little(composed: Composed) -> Iterator[str]:
    for name, service in composed["services"].items():
        if service.get("privileged") or service.get("pid") or service.get("ipc"):
            yield f"{name} is privileged"
        if service.get("cap_drop") != ["ALL"]:
            yield f"{name} keeps capabilities"
        if not service.get("read_only"):
            yield f"{name} can write to its root"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name} can get privileges"
        yield from (
            f"{name} has no {limit}"
            for limit in ("mem_limit", "pids_limit")
            if not service.get(limit)
        )
        for volume in service.get("volumes", []):
            if volume["type"] != "bind":
                continue
            if "docker.sock" in volume["source"] or not volume.get("read_only"):
                yield f"{name} may write to {volume['source']}"


def opens_ports_on_this_machine_alone(composed: Composed) -> Iterator[str]:
    for name, service in composed["services"].items():
        for port in service.get("ports", []):
            if port.get("host_ip") != "127.0.0.1":
                yield f"{name} opens {port['published']} to everybody"


def keeps_secrets_out_of_the_environment(composed: Composed) -> Iterator[str]:
    for name, service in composed["services"].items():
        for variable in service.get("environment", {}):
            if SECRET_NAMES.search(variable) and not (
                variable.endswith("_FILE") or variable in NO_SECRETS
            ):
                yield f"{name}: {variable} stands in its environment"


def names_settings_that_there_are(composed: Composed) -> Iterator[str]:
    known = {f"RDEV_{name.upper()}" for name in Settings.model_fields}
    known |= {"RDEV_RUNNER_BIND"}
    for name in (*FUNCTIONS, "runner"):
        for variable in composed["services"].get(name, {}).get("environment", {}):
            if variable.startswith("RDEV_") and variable not in known:
                yield f"{name}: {variable} is no setting"


def names_files_that_there_are(composed: Composed) -> Iterator[str]:
    for name, service in composed["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and not (SOURCE_ROOT / volume["source"]).exists():
                yield f"{name}: {volume['source']} is not there"


def reaches_only_services(composed: Composed) -> Iterator[str]:
    for name, service in composed["services"].items():
        for variable, value in service.get("environment", {}).items():
            for host in re.findall(r"https?://([\w.-]+)", value or ""):
                if host not in composed["services"] and host != "127.0.0.1":
                    yield f"{name}: {variable} leads to {host}, which is no service"


RULES = (
    has_every_function, names_the_version_of_each_image, can_be_asked_how_it_is,
    is_held_to_little, opens_ports_on_this_machine_alone, keeps_secrets_out_of_the_environment,
    names_settings_that_there_are, names_files_that_there_are, reaches_only_services,
)  # fmt: skip


def problems(composed: Composed) -> list[str]:
    return [f"{rule.__name__}: {text}" for rule in RULES for text in rule(composed)]
