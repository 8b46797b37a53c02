"""What befalls pods, and what leads to them, beside all that befalls the rest."""

import threading
import time
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from chaos.faults import Faults
from chaos.pods import PodCluster

_BREAK_WITHIN = 30_000


class PodFaults(Faults):
    pause_s = (0.2, 1.2)  # there a command takes longer, and is to meet faults while it runs

    def __init__(self, cluster: PodCluster, seed: int) -> None:
        super().__init__(cluster, seed)
        self._pods = cluster
        self._node_away = threading.Lock()
        self._api_away = threading.Lock()
        self._kinds |= {
            "exec connections cut at a random byte": (7, self._break_execs),
            "all exec connections cut (kubelet restarted)": (3, lambda: self._do("cut_execs")),
            "exec connections frozen": (2, self._freeze_execs),
            "API server away": (2, lambda: self._switch({"away": True}, {"away": False}, 6.0)),
            "API server busy (429)": (2, lambda: self._switch({"busy_s": 1}, {"busy_s": 0}, 4.0)),
            "watches expired (410)": (2, lambda: self._do("forget")),
            "watches hung up": (1, lambda: self._do("hang_up")),
            "pod deleted, volume kept": (3, lambda: self._do("strike", how="delete")),
            "container out of memory": (2, lambda: self._do("strike", how="OOMKilled")),
            "container killed in place": (2, lambda: self._do("strike", how="Error")),
            "pod evicted": (2, lambda: self._do("strike", how="evict")),
            "node lost, and back": (1, lambda: self._lose_node(died=False)),
            "node died, and back": (1, lambda: self._lose_node(died=True)),
        }

    @override
    def settle(self) -> None:
        super().settle()
        self._do("set", faults=[])
        self._do("cut_execs")

    def _do(self, deed: str, **how: Any) -> None:
        self._pods.node(deed, **how)

    def _break_execs(self) -> None:
        self._do("break_execs", most=_BREAK_WITHIN)

    def _freeze_execs(self) -> None:
        """Until the way is there again, and what was under way meets nobody any more."""
        for_s = self._random.uniform(0.5, 25.0)

        def freeze() -> None:
            self._do("freeze_execs")
            time.sleep(for_s)
            self._do("cut_execs")

        self._beside(freeze)

    def _switch(self, on: dict[str, Any], off: dict[str, Any], most_s: float) -> None:
        for_s = self._random.uniform(0.3, most_s)
        self._alone(
            self._api_away, lambda: self._do("set", **on), for_s, lambda: self._do("set", **off)
        )

    def _lose_node(self, *, died: bool) -> None:
        for_s = self._random.uniform(0.5, 10.0)
        self._alone(
            self._node_away,
            lambda: self._do("lose_node"),
            for_s,
            lambda: self._do("find_node", died=died),
        )

    def _alone(
        self, lock: threading.Lock, begin: Callable[[], None], for_s: float, end: Callable[[], None]
    ) -> None:
        def act() -> None:
            with lock:
                begin()
                time.sleep(for_s)
                end()

        self._beside(act)
