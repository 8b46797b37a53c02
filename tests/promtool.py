"""Prometheus' own tool, where the machine has it; `.ci/run` sees to that."""

import shutil
import subprocess
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

PATH = shutil.which("promtool")


def check_metrics(exposition: str) -> None:
    """Fails where the text cannot be read, tells something twice, or has what Prometheus' linter
    finds fault with."""
    told = [
        (sample.name, *sorted(sample.labels.items()))
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    ]
    assert told
    assert [each for each, times in Counter(told).items() if times > 1] == []
    if PATH:
        done = subprocess.run(
            [PATH, "check", "metrics"],
            input=exposition,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
