"""Whether gradients of captured graphs equal eager's: models of torchvision, BERT, GPT-2, an LSTM.

    python benchmarks/parity.py [NAME ...]

Each model is captured in training mode, encoded, decoded and replayed on the CPU. "equal" means
that the loss and every gradient are the same to the bit.
"""

from __future__ import annotations

import gc
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from nnlint.errors import CaptureError
from nnlint.probe_service.capture.live import capture_live
from nnlint.probe_service.operators import reviewed
from nnlint.protos.v1 import graph_pb2
from tests import zoo


def main() -> int:
    """Print one line for each model; return 1 where any is not equal."""
    warnings.simplefilter("ignore")
    cases = zoo.cases()
    failed = 0
    used: set[str] = set()
    print(f"{'model':20} {'nodes':>5} {'operators':>9} {'gradients':>9} {'seconds':>8} equal")
    for name in sys.argv[1:] or cases:
        model, batch, loss = cases[name]()
        start = time.perf_counter()
        try:
            captured = capture_live(model, batch, loss)
        except CaptureError as error:
            failed += 1
            print(f"{name:20} refused: {error}", flush=True)
            continue
        seconds = time.perf_counter() - start
        graph = graph_pb2.Graph.FromString(captured.graph)
        used |= set(graph.operators)
        equal = captured.parity.bit_equal
        failed += not equal
        print(
            f"{name:20} {len(graph.nodes):5} {len(graph.operators):9} "
            f"{captured.parity.gradients:9} {seconds:8.2f} "
            f"{'to the bit' if equal else f'within {captured.parity.gradient_error:.1e}'}",
            flush=True,
        )
        del model, batch, captured, graph
        gc.collect()
    print(f"{len(used)} operators of {len(reviewed())} reviewed ones")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
