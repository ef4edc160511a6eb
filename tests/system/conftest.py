"""One running server for the tests of this folder that do not kill it."""

from collections.abc import Iterator

import pytest
from live_server import LiveServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A running server with one modality (CT1, this machine)."""
    live = LiveServer(tmp_path_factory.mktemp("live"))
    live.run("devices", "add", "CT1", "--host", "127.0.0.1")
    live.start()
    yield live
    if live.process is not None:
        assert live.stop() == 0
