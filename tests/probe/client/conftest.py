from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client.address import Address, parse_address
from tests.probe.client.fake import Fake, FakeServer, capture_of
from tests.probe.graphs import mlp


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return parse_address(f"unix:{tmp_path / 's.sock'}")


@pytest.fixture
def fake(address: Address) -> Iterator[Fake]:
    """A scripted service at `address`."""
    service = Fake()
    server = FakeServer(service, str(address))
    yield service
    server.stop()


@pytest.fixture
def capture() -> Capture:
    return capture_of(mlp())


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("NNLINT_TOKEN", raising=False)
