from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from nnlint.probe_service.capture.scratch import scratch


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def aged(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "blob").write_bytes(b"weights")
    os.utime(folder, (0, 0))
    return folder


def test_a_folder_is_there_for_its_time_alone(parent: Path) -> None:
    with scratch() as folder:
        (Path(folder) / "blob").write_bytes(b"weights")
        assert Path(folder).parent == parent
    assert list(parent.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(parent: Path) -> None:
    left = aged(parent / "nnlint-capture-left")
    other = aged(parent / "another")
    with scratch():
        assert not left.exists()
        assert other.exists()


def test_the_folder_of_a_living_process_stays() -> None:
    with scratch() as first:
        aged(Path(first))
        with scratch() as second:
            assert Path(first, "blob").exists()
            assert Path(second).exists()


def test_a_folder_that_was_only_just_made_stays(parent: Path) -> None:
    young = parent / "nnlint-capture-young"
    young.mkdir()
    with scratch():
        assert young.exists()
