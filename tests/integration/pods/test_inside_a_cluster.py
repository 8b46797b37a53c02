"""How rdev reaches the API server from a pod: by what the kubelet mounts and sets there."""

import json
import os
import subprocess
import sys
from pathlib import Path

from kubernetes_stand_in import skip_without_pods

MOUNTED = """
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io
ln -s "$1" /run/secrets/kubernetes.io/serviceaccount
[ -e /var/run/secrets ] || mount --bind /run /var/run
shift
exec "$@"
"""
TOLD = """
import json
from rdev.adapters.workspaces.kubernetes.access import Access, authorization
access = Access()
client = access.client()
print(json.dumps({
    "host": client.configuration.host,
    "verified": client.configuration.verify_ssl,
    "ca": client.configuration.ssl_ca_cert,
    "said": authorization(client, "GET", "/version"),
    "namespace": access.namespace(),
}))
"""


def test_by_its_service_account_its_certificate_and_its_namespace(tmp_path: Path) -> None:
    skip_without_pods()
    for name, held in {"token": "t0ken", "ca.crt": "cert", "namespace": "rdev"}.items():
        (tmp_path / name).write_text(held)
    inside = ["unshare", "--mount", "sh", "-ec", MOUNTED, "sh", str(tmp_path)]
    told = subprocess.run(
        [*inside, sys.executable, "-c", TOLD],
        env={
            **os.environ,
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
            "KUBERNETES_SERVICE_PORT": "443",
        },
        capture_output=True,
        check=True,
    )
    seen = json.loads(told.stdout)
    assert seen["host"] == "https://10.0.0.1:443"
    assert seen["verified"]
    assert Path(seen["ca"]).name == "ca.crt"
    assert [each.lower() for each in seen["said"].values()] == ["bearer t0ken"]
    assert seen["namespace"] == "rdev"
