"""What rdev makes in a cluster, and the namespace it is made in: valid, restricted, and no verb
more in a role than is used."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rdev.adapters.workspaces.kubernetes import names
from rdev.adapters.workspaces.kubernetes.manifests import stateful_set
from rdev.adapters.workspaces.kubernetes.template import Template, parse
from rdev.config import SOURCE_ROOT
from rdev.errors import InvalidRequest

DEPLOYED = SOURCE_ROOT / "deploy/kubernetes/projects"
FULL = {
    "image": "node:22",
    "resources": {"cpu": "4", "memory": "8Gi"},
    "volume": {"size": "20Gi", "storage_class": "fast"},
    "env_from_secrets": ["npm-token"],
    "image_pull_secrets": ["registry"],
    "node_selector": {"pool": "builders"},
    "tolerations": [{"key": "builders", "effect": "NoSchedule"}],
    "runtime_class": "gvisor",
    "read_only_root": False,
}
# Of the metadata of clouds, of pods and services of clusters, and of private networks.
PRIVATE = [
    *("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"),
    *("10.1.2.3", "172.31.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1", "240.0.0.1"),
    *("fe80::1", "fd12:3456::1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "::ffff:10.0.0.1"),
    "2002:a00:1::1",
]
PUBLIC = ["1.1.1.1", "140.82.121.3", "2606:4700:4700::1111", "2a00:1450:4001::1"]
TEMPLATES = [Template(image="debian"), parse("full", FULL)]


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def made(template: Template, project: str = "web") -> dict[str, Any]:
    return stateful_set(project, template, template_name="t")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("project", ["web", "a" * 63, f"{'a' * 62}b"])
def test_a_project_is_a_valid_stateful_set(template: Template, project: str) -> None:
    manifest = made(template, project)
    kubernetes_validate.validate(manifest, "1.29", strict=True)
    assert len(manifest["metadata"]["name"]) <= 52


def test_long_names_stay_apart() -> None:
    assert names.set_name("a" * 63) != names.set_name(f"{'a' * 62}b")
    assert names.set_name("web") == "web"


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_pod_meets_the_restricted_level(template: Template) -> None:
    """Of Kubernetes' Pod Security Standards, point by point; and what goes beyond it."""
    pod = made(template)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    own = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["fsGroup"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False
    assert own["privileged"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is template.read_only_root
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"emptyDir"}
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    assert not any("hostPort" in port for port in container.get("ports", ()))
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for name in ("cpu", "memory", "ephemeral-storage"):
        assert container["resources"]["limits"][name]
        assert container["resources"]["requests"][name]


def test_a_volume_outlives_a_stop_and_goes_with_the_project() -> None:
    policy = made(TEMPLATES[0])["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy == {"whenDeleted": "Delete", "whenScaled": "Retain"}


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ({}, "bad: image: Field required"),
        ({"image": "x", "user": 0}, "bad: user: "),
        ({"image": "x", "volume": {"size": "much"}}, "bad: volume.size: "),
        ({"image": "x", "privileged": True}, "bad: privileged: Extra inputs"),
        ({"image": "x", "root": "data"}, "bad: root: "),
        (["image"], "bad: is no mapping"),
    ],
)
def test_a_template_that_is_not_valid_is_named_with_its_field(written: Any, wrong: str) -> None:
    with pytest.raises(InvalidRequest, match=wrong) as refused:
        parse("bad", written)
    assert refused.value.details[0].field == "template"


def test_the_namespace_is_complete_and_valid() -> None:
    listed = documents(DEPLOYED / "kustomization.yaml")[0]["resources"]
    assert sorted(listed) == sorted(
        path.name for path in DEPLOYED.glob("*.yaml") if path.name != "kustomization.yaml"
    )
    for name in listed:
        for document in documents(DEPLOYED / name):
            kubernetes_validate.validate(document, "1.29", strict=True)


def test_the_namespace_enforces_what_our_pods_meet() -> None:
    (namespace,) = documents(DEPLOYED / "namespace.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_network_is_shut_but_for_names_and_public_addresses() -> None:
    (policy,) = documents(DEPLOYED / "network-policy.yaml")
    spec = policy["spec"]
    assert spec["podSelector"] == {}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == []
    names_, public = spec["egress"]
    assert {port["port"] for port in names_["ports"]} == {53}
    assert [address for address in PRIVATE if reached(public, address)] == []
    assert [address for address in PUBLIC if not reached(public, address)] == []


def reached(rule: dict[str, Any], address: str) -> bool:
    def within(cidr: str) -> bool:
        return ip_address(address) in ip_network(cidr)

    blocks = [to["ipBlock"] for to in rule["to"]]
    return any(
        within(block["cidr"]) and not any(within(cidr) for cidr in block["except"])
        for block in blocks
    )


def test_the_disruption_budget_is_of_our_pods() -> None:
    (budget,) = documents(DEPLOYED / "disruption-budget.yaml")
    # Else a single one that does not come up would hold up every drain: by itself, and by using
    # up what the healthy ones may.
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["spec"]["maxUnavailable"].endswith("%")
    wanted = budget["spec"]["selector"]["matchLabels"]
    labels = made(TEMPLATES[0])["spec"]["template"]["metadata"]["labels"]
    assert wanted.items() <= labels.items()
