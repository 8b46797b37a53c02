"""What must hold of the rendered manifests; each rule yields what is wrong, in words."""

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
from pydantic import ValidationError

from knative_kinds import KINDS
from rdev.domain.sweeps import LATE_S
from rdev.domain.wakeups import WAKES
from rdev.http.routes import FUNCTIONS
from rdev.platform.function import serving
from route_places import in_the_http_route, in_the_table

OURS = (
    "knative.dev/",
    "keda.sh/",
    "gateway.networking.k8s.io/",
    "monitoring.coreos.com/",
    "external-secrets.io/",
)
OUR_PODS = {*FUNCTIONS, "runner", "runner-sweep", "rdev-migrations"}
TALKS_TO_THE_CLUSTER = {"projects", "runner", "runner-sweep", "system"}
WAKES_OTHERS = {"keys", "projects", "exec", "webhooks", "runner"}
"""Whose transactions leave commands or deliveries behind."""
KNATIVE_WINDOW_S = 60.0
"""So long without a request, and Knative takes a function to zero, unless it says otherwise."""
Manifests = list[dict[str, Any]]


def is_core(document: dict[str, Any]) -> bool:
    return not any(group in document["apiVersion"] for group in OURS)


def functions(documents: Manifests) -> dict[str, dict[str, Any]]:
    return {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]
        for document in documents
        if document["apiVersion"].startswith("serving.knative.dev/")
    }


def templates(documents: Manifests) -> dict[str, dict[str, Any]]:
    """The pod template of all that makes pods."""
    found = {}
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            found[document["metadata"]["name"]] = spec["template"]
    return found


def pods(documents: Manifests) -> dict[str, dict[str, Any]]:
    return {name: template["spec"] for name, template in templates(documents).items()}


def follows_the_schema(documents: Manifests) -> Iterator[str]:
    for document in documents:
        try:
            if is_core(document):
                kubernetes_validate.validate(document, "1.29", strict=True)
            else:
                KINDS[document["kind"]].model_validate(document)
        except (kubernetes_validate.ValidationError, ValidationError, KeyError) as exc:
            yield f"{document['kind']} {document['metadata']['name']}: {exc}"


def containers_are_kubernetes_own(documents: Manifests) -> Iterator[str]:
    """Knative takes the core's containers and volumes."""
    for name, spec in functions(documents).items():
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "containers": [{"name": "user-container", **each} for each in spec["containers"]],
                "volumes": spec["volumes"],
            },
        }
        try:
            kubernetes_validate.validate(pod, "1.29", strict=True)
        except kubernetes_validate.ValidationError as exc:
            yield f"{name}: {exc}"


def lets_in_no_more_than_is_served(documents: Manifests) -> Iterator[str]:
    for name, spec in functions(documents).items():
        if spec["containerConcurrency"] > serving(name).at_once:
            yield f"{name}: containerConcurrency above what one worker serves"


def gives_a_token_to_who_needs_one(documents: Manifests) -> Iterator[str]:
    for name, spec in pods(documents).items():
        if spec.get("automountServiceAccountToken") is not (name in TALKS_TO_THE_CLUSTER):
            yield f"{name}: automountServiceAccountToken"


def runs_unprivileged(documents: Manifests) -> Iterator[str]:
    for name, spec in pods(documents).items():
        for each in spec["containers"]:
            own = {**spec.get("securityContext", {}), **each["securityContext"]}
            wanted = {
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }
            yield from (f"{name}: {key}" for key in wanted if own.get(key) != wanted[key])
            if name in OUR_PODS and not own.get("readOnlyRootFilesystem"):
                yield f"{name}: its root can be written"
            if "memory" not in each["resources"]["limits"]:
                yield f"{name}: no limit of memory"


def probes_the_process(documents: Manifests) -> Iterator[str]:
    """Not /ready: a store that is away would take away every replica, and with them the answer
    that says so."""
    for name, spec in pods(documents).items():
        for each in spec["containers"]:
            for probe in ("readinessProbe", "livenessProbe"):
                asked = each.get(probe, {}).get("httpGet", {}).get("path")
                if name in {*FUNCTIONS, "runner"} and asked != "/health":
                    yield f"{name}: its {probe} does not ask /health"


def drains_within_the_request(documents: Manifests) -> Iterator[str]:
    settings = next(
        document["data"]
        for document in documents
        if document["kind"] == "ConfigMap" and document["metadata"]["name"] == "rdev-settings"
    )
    for name, field in (("runner", "RDEV_DRAIN_FOR_S"), ("webhooks", "RDEV_DELIVER_FOR_S")):
        spec = functions(documents).get(name)
        if spec and float(settings[field]) + 30 > spec["timeoutSeconds"]:
            yield f"{field} reaches to the timeoutSeconds of {name}"


def wakes_by_the_codes_types(documents: Manifests) -> Iterator[str]:
    wanted = {name: kind for kind, name in WAKES.items()}
    there = functions(documents)
    found = {
        document["spec"]["subscriber"]["ref"]["name"]: document["spec"]["filter"]["attributes"]
        for document in documents
        if document["kind"] == "Trigger"
    }
    for name, kind in wanted.items():
        if name in there and found.get(name) != {"type": kind}:
            yield f"no Trigger gives {kind} to {name}"
    for document in of_kind(documents, "Service"):
        label = document["metadata"].get("labels", {}).get("rdev.dev/wakes") == "true"
        name = document["metadata"]["name"]
        if name in there and label is not (name in WAKES_OTHERS):
            yield f"{name}: the SinkBinding's label"


def sweeps_at_zero(documents: Manifests) -> Iterator[str]:
    """Whatever is scaled to zero is swept all the same, before that is called late; and there is
    time to be at zero in between."""
    there = functions(documents)
    swept = {
        each["spec"]["sink"]["ref"]["name"]: each["spec"]["schedule"]
        for each in of_kind(documents, "PingSource")
    }
    for each in of_kind(documents, "CronJob"):
        (container,) = each["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        if container["command"][-1] == "rdev.platform.drain":
            swept["runner"] = each["spec"]["schedule"]
    for name in WAKES.values():
        every = re.fullmatch(r"\*/(\d+)( \*){4}", swept.get(name, ""))
        if every is None:
            yield f"nobody sweeps for {name}"
        elif int(every[1]) * 60 > LATE_S - 60:
            yield f"the sweep of {name} comes when it is late"
        elif name in there and int(every[1]) * 60 <= 2 * KNATIVE_WINDOW_S:
            yield f"{name} never comes to zero"
    for name in swept.keys() & there.keys():
        (service,) = (each for each in of_kind(documents, "Service", name) if not is_core(each))
        notes = service["spec"]["template"]["metadata"]["annotations"]
        if "autoscaling.knative.dev/scale-to-zero-pod-retention-period" in notes:
            yield f"{name} is kept from zero longer than it has to be"


def serves_every_function(documents: Manifests) -> Iterator[str]:
    there = pods(documents)
    yield from (f"{name} is not there" for name in (*FUNCTIONS, "runner") if name not in there)


def routes_as_the_table(documents: Manifests) -> Iterator[str]:
    (route,) = of_kind(documents, "HTTPRoute", "rdev")
    wanted, found = set(in_the_table()), set(in_the_http_route(route))
    yield from (f"missing: {each}" for each in wanted - found)
    yield from (f"not in the table: {each}" for each in found - wanted)


def of_kind(documents: Manifests, kind: str, name: str | None = None) -> Manifests:
    return [
        document
        for document in documents
        if document["kind"] == kind and name in (None, document["metadata"]["name"])
    ]


def leads_from_the_gateway_to_the_route(documents: Manifests) -> Iterator[str]:
    """Where an overlay brings a Gateway: requests arrive by TLS alone."""
    (route,) = of_kind(documents, "HTTPRoute", "rdev")
    (parent,) = route["spec"]["parentRefs"]
    for gateway in of_kind(documents, "Gateway"):
        listeners = {each["name"]: each for each in gateway["spec"]["listeners"]}
        taken = listeners.get(parent.get("sectionName", ""))
        if taken is None or taken["protocol"] != "HTTPS":
            yield "the route is not behind TLS"
        elif taken["hostname"] not in route["spec"]["hostnames"]:
            yield "the gateway and the route have different hosts"
        place = (gateway["metadata"]["namespace"], gateway["metadata"]["name"])
        if place != (parent["namespace"], parent["name"]):
            yield "the route is at another gateway"


def grants_what_the_route_uses(documents: Manifests) -> Iterator[str]:
    (grant,) = of_kind(documents, "ReferenceGrant")
    (route,) = of_kind(documents, "HTTPRoute", "rdev")
    allowed = {(grant["metadata"]["namespace"], to["name"]) for to in grant["spec"]["to"]}
    used = {
        (each["namespace"], each["name"])
        for rule in route["spec"]["rules"]
        for each in rule["backendRefs"]
    }
    yield from (f"no grant for {each}" for each in used - allowed)
    if route["metadata"]["namespace"] not in {each["namespace"] for each in grant["spec"]["from"]}:
        yield "the grant is for another namespace"


def budgets_disruptions_of_what_is_warm(documents: Manifests) -> Iterator[str]:
    budgeted = {
        next(iter(each["spec"]["selector"]["matchLabels"].values()))
        for each in of_kind(documents, "PodDisruptionBudget")
    }
    for document in documents:
        if document["apiVersion"].startswith("serving.knative.dev/"):
            notes = document["spec"]["template"]["metadata"]["annotations"]
            name = document["metadata"]["name"]
            if int(notes["autoscaling.knative.dev/min-scale"]) > 1 and name not in budgeted:
                yield f"{name} is warm, and a drain may take all of it"


def keeps_8080_shut(documents: Manifests) -> Iterator[str]:
    """Who reaches a function's own port passes by Knative's limits: only Prometheus may."""
    for policy in of_kind(documents, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            open_to_all = not rule.get("from")
            names = repr(rule.get("from"))
            for port in rule.get("ports", [{"port": 8080}]):
                if port["port"] == 8080 and (open_to_all or "prometheus" not in names):
                    yield f"{policy['metadata']['name']} opens 8080"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) \
        and all(labels.get(each["key"]) in each["values"]
                for each in selector.get("matchExpressions", []))  # fmt: skip


def opens_to_every_pod_what_it_needs_and_no_more(documents: Manifests) -> Iterator[str]:
    """So it works where everything is denied, and denies where nothing is."""
    policies = of_kind(documents, "NetworkPolicy")
    for name, template in templates(documents).items():
        taken = [
            each["spec"]
            for each in policies
            if each["metadata"]["namespace"] == "rdev"
            and selects(each["spec"]["podSelector"], template["metadata"]["labels"])
        ]
        for way in ("Ingress", "Egress"):
            if not any(way in each["policyTypes"] for each in taken):
                yield f"{name}: no policy for its {way.lower()}"
        out = [rule for each in taken for rule in each.get("egress", [])]
        ports = {port["port"] for rule in out for port in rule.get("ports", [])}
        if name in OUR_PODS and not {53, 443, 5432, 6379} <= ports:
            yield f"{name} does not reach names, stores and archive"
        if ({} in out) or any("to" not in rule and "ports" not in rule for rule in out):
            yield f"{name} reaches everything"
        deployed = name == "runner" and name not in functions(documents)
        if (name == "webhooks" or deployed) is not any("ports" not in rule for rule in out):
            yield f"{name}: the way to webhooks' receivers"


def is_held_to_restricted_pods(documents: Manifests) -> Iterator[str]:
    for each in of_kind(documents, "Namespace"):
        if each["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{each['metadata']['name']} lets in pods that are not restricted"


def names_known_secrets(documents: Manifests, known: set[tuple[str, str]]) -> Iterator[str]:
    """`known` are names and keys, of secrets.example.yaml."""
    names = {name for name, _ in known}
    text = repr([document for document in documents if document["kind"] != "Secret"])
    for name in re.findall(r"'(?:secretRef': \{'name|secretName)': '([^']+)'", text):
        if name not in names:
            yield f"the secret {name} is in no example"
    wanted = set(re.findall(r"'secretKeyRef': \{'key': '([^']+)', 'name': '([^']+)'", text))
    for each in of_kind(documents, "TriggerAuthentication"):
        wanted |= {(ref["key"], ref["name"]) for ref in each["spec"]["secretTargetRef"]}
    for key, name in wanted:
        if (name, key) not in known:
            yield f"the secret {name} has no {key} in the example"


def holds_no_secret(documents: Manifests) -> Iterator[str]:
    yield from (
        f"{document['metadata']['name']} is a Secret"
        for document in documents
        if document["kind"] == "Secret"
    )


RULES = (
    follows_the_schema, containers_are_kubernetes_own, lets_in_no_more_than_is_served,
    gives_a_token_to_who_needs_one, runs_unprivileged, probes_the_process,
    drains_within_the_request, wakes_by_the_codes_types, serves_every_function,
    routes_as_the_table, leads_from_the_gateway_to_the_route, grants_what_the_route_uses,
    budgets_disruptions_of_what_is_warm, keeps_8080_shut, holds_no_secret, sweeps_at_zero,
    opens_to_every_pod_what_it_needs_and_no_more, is_held_to_restricted_pods,
)  # fmt: skip
