"""A volume that is full, as a pod's first visitor finds it."""

import os
import threading

from chaos.disk import Disk
from integration.pods.running import Running
from live_stack import wait_for
from rdev.domain.commands import Status

FULL_S = 3.0


def test_a_volume_that_is_full_when_the_first_command_comes_is_waited_for(running: Running):
    place = running.there.folder / "claims" / f"data-{running.pod}"
    place.parent.mkdir(exist_ok=True)
    disk = Disk(place)
    try:
        os.chown(place, 0, 1000)
        place.chmod(0o2775)
        running.create()
        filling = threading.Thread(target=disk.be_full, args=(FULL_S,))
        filling.start()
        wait_for(lambda: os.statvfs(place).f_bavail == 0)
        with running.runner():
            ended = running.ended(running.submit("echo hi"))
        filling.join()
        assert ended.status is Status.SUCCEEDED, ended
        assert running.streamed(ended) == b"hi\n"
    finally:
        running.remove()
        disk.end()
