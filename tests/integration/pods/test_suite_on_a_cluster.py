"""`make test-cluster`, as far as that can be had without a real one: how its suite comes into a
cluster of which it knows a kubeconfig and an image."""

import pytest

import real_cluster
from conformance.workspaces import clusters
from conformance.workspaces.place import Place
from kubernetes_stand_in.stand_in import StandIn

DEFAULT_CLASS = {
    "metadata": {
        "name": "standard",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    }
}


@pytest.mark.parametrize("how", [clusters.made_by_rdev, clusters.made_by_others])
def test_the_suite_makes_what_it_needs_and_takes_it_away(stand_in, monkeypatch, tmp_path, how):
    there, kubeconfig = stand_in
    there.put("storageclasses", DEFAULT_CLASS)
    monkeypatch.setenv(real_cluster.KUBECONFIG, str(kubeconfig))
    monkeypatch.setenv(real_cluster.IMAGE, "registry.test/debian:1")
    with clusters.of_a_real_cluster(how, tmp_path) as target:
        (namespace,) = made(there)
        assert namespace["metadata"]["labels"] == {
            "pod-security.kubernetes.io/enforce": "restricted"
        }
        with target.project("suite-once"):
            assert target.workspaces.wait_running("suite-once", 60).running
            place = Place(target, "suite-once", "once")
            assert place.run(place.sh("id -u")) == (0, b"1000\n", b"")
    assert not made(there)


def made(there: StandIn) -> list[dict[str, object]]:
    with there.changed:
        return [raw for (kind, _), raw in there.objects.items() if kind == "namespaces"]
