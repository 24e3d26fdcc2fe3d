"""What a probe gave, as it came from the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnlint.probe_service.capture.bundle import Capture
from nnlint.probe_service.client.request import Asked
from nnlint.probe_service.client.upload import Uploaded
from nnlint.protos.v1 import measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe, from its capture to its result.

    Attributes:
        capture: What was run; with `fit_batch` that of the batch that fitted.
        plan: What the arrays of the steps stand for; empty where nothing was measured.
        steps: In order.
        result: How it ended.
        uploaded: What had to be sent.
        server: What the service says of itself.
        asked: The experiments, None where the probe was not made by a request.
        found: What they found, but for the gradients; fewer where the probe ended before.
    """

    capture: Capture
    plan: measurement_pb2.MeasurementPlan
    steps: Sequence[measurement_pb2.StepStatistics]
    result: measurement_pb2.Result
    uploaded: Uploaded
    server: pb.GetCapabilitiesResponse
    asked: Asked | None = None
    found: Sequence[measurement_pb2.ExperimentResult] = ()
