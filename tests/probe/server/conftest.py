"""Servers that the tests of a session share: one with a stand-in for the replay, one with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.probe.server.servers import Server, serving


@pytest.fixture(scope="session")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("fake"), limits={"seconds": 30.0}) as server:
        server.settle()
        yield server


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("real"), executor="") as server:
        server.settle()
        yield server
