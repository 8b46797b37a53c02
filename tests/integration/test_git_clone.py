"""A clone from a server that does not answer."""

import socket
from pathlib import Path

import pytest

from rdev.adapters.workspaces.git_clone import clone
from rdev.errors import WorkspaceUnavailable


def test_a_clone_whose_server_is_silent_ends_in_time_with_all_that_it_started(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/repository"
        with pytest.raises(WorkspaceUnavailable, match="took longer than 2 s"):
            clone(url, tmp_path / "into", protocols=["http"], timeout_s=2)
        server.settimeout(60)
        asked, _ = server.accept()
        with asked:
            asked.settimeout(60)
            while asked.recv(65536):
                pass  # what it asked; then its end, and nothing is left that would wait on
