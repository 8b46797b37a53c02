"""What RQ's and Celery's workers run: a process that runs `true`. Celery finds its app in here
(`celery -A bench.queue_jobs`), its broker and backend in BENCH_CELERY_URL."""

import os
import subprocess

from celery import Celery

app = Celery(
    "bench", broker=os.environ.get("BENCH_CELERY_URL"), backend=os.environ.get("BENCH_CELERY_URL")
)
# What its results do when they are forgotten, after the Valkey is gone, is not to take for ever.
app.conf.result_backend_transport_options = {
    "retry_policy": {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
}


def run_true() -> int:
    return subprocess.run(["sh", "-c", "true"], check=True).returncode


celery_run_true = app.task(run_true, name="bench.run_true")
