"""A worker's end says how much processor time it took."""

from __future__ import annotations

import time
from pathlib import Path

from nnlint.linter.discover.targets import Target
from nnlint.linter.findings import Location
from nnlint.linter.load.pool import Pool
from nnlint.linter.load.protocol import Job
from nnlint.linter.settings import ModelSettings

BUSY = """
import time
from torch import nn

class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 4)
        start = time.process_time()
        while time.process_time() < start + 0.05:
            pass
"""


def test_the_end_of_a_job_tells_its_own_processor_time(pool: Pool, tmp_path: Path) -> None:
    path = str(tmp_path / "net.py")
    target = Target("Net", "class", Location(path, 5), "Net")
    job = Job(
        path, BUSY, "", str(tmp_path), (target,), (ModelSettings(),), (), 60.0, 8 * 1024**3
    )  # fmt: skip
    start = time.monotonic()
    end = pool.run(job, lambda _: None)
    assert 0.05 <= end.cpu <= 2 * (time.monotonic() - start) + 0.1
