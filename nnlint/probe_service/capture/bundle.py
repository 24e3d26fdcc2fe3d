"""A captured training step: what goes to the server, and what stays with the client."""

from __future__ import annotations

import dataclasses
import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nnlint.linter.findings import Location
from nnlint.linter.measured import Site
from nnlint.linter.probed import Predicted, PredictedLayer

# Blobs of this size and more are mapped, not read: they are sent at most once.
_MAPPED = 1 << 20


@dataclass(frozen=True, slots=True)
class TensorSite:
    """What the client knows of one tensor of the graph.

    Attributes:
        name: Qualified name of a parameter or buffer, name of an input.
        site: Place of the layer that owns it.
        drawn: Whether it is a parameter whose elements are independent draws.
    """

    name: str
    site: Site = field(default_factory=Site)
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Parity:
    """How the captured graph compares with the live model, on the client's CPU.

    Attributes:
        loss_error: Relative difference of the losses.
        gradient_error: Largest relative difference of a gradient, by its norm.
        bit_equal: Whether the loss and every gradient are equal to the bit.
        gradients: How many gradients were compared.
    """

    loss_error: float
    gradient_error: float
    bit_equal: bool
    gradients: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The same step in evaluation mode.

    Attributes:
        graph: The serialised `nnlint.protos.v1.Graph`; empty where it could not be captured.
        tensors: For each tensor of that graph, its position in the graph in training mode; -1
            where it has none.
        reason: Why there is no graph: one sentence, without a final period.
    """

    graph: bytes = b""
    tensors: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Capture:
    """One training step of one model, ready to send.

    Attributes:
        model: Display name of the model.
        location: Line of the class, factory or instance.
        graph: The serialised `nnlint.protos.v1.Graph`.
        blobs: SHA-256 -> content of every blob that the graph names, without the graph itself.
        nodes: For each node of the graph, where it stands in the source.
        tensors: For each tensor of the graph, what it is called.
        loss_nodes: Positions of the nodes that belong to the loss and not to the model.
        batch_size: Samples in a step.
        loss: For people: "cross_entropy at train.py:30".
        loss_source: Where the loss comes from; "stand-in" where none was found.
        data: Whether inputs and labels are the user's batch or drawn.
        parity: How the graph compares with the live model.
        notes: What the user should know about the capture, one sentence each.
        predicted: What is predicted of the model, where that was asked for.
        evaluation: The step in evaluation mode, where that was asked for; `blobs` has its content.
        doubled: The loss of the batch taken twice divided by that of the batch, where that was
            asked for and can be had.
    """

    model: str
    location: Location
    graph: bytes
    blobs: Mapping[bytes, bytes | memoryview]
    nodes: tuple[Site, ...]
    tensors: tuple[TensorSite, ...]
    loss_nodes: frozenset[int]
    batch_size: int
    loss: str
    loss_source: Literal["given", "found", "forward", "stand-in"]
    data: Literal["user", "random"]
    parity: Parity
    notes: tuple[str, ...] = field(default=())
    predicted: Predicted | None = None
    evaluation: Evaluation | None = None
    doubled: float | None = None

    def write(self, folder: Path) -> None:
        """Write the capture into an empty folder: JSON, the graph, and a file for each blob."""
        blobs = folder / "blobs"
        blobs.mkdir()
        for sha256, data in self.blobs.items():
            (blobs / sha256.hex()).write_bytes(data)
        (folder / "graph.pb").write_bytes(self.graph)
        if self.evaluation is not None:
            (folder / "evaluation.pb").write_bytes(self.evaluation.graph)
        (folder / "capture.json").write_text(json.dumps(self._to_dict()), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Capture:
        """Read what `write` wrote; the folder may be deleted afterwards."""
        data = json.loads((folder / "capture.json").read_text(encoding="utf-8"))
        return cls(
            model=data["model"],
            location=Location.from_dict(data["location"]),
            graph=(folder / "graph.pb").read_bytes(),
            blobs={
                bytes.fromhex(path.name): _content(path) for path in (folder / "blobs").iterdir()
            },
            nodes=tuple(map(_site, data["nodes"])),
            tensors=tuple(
                TensorSite(each["name"], _site(each["site"]), each["drawn"])
                for each in data["tensors"]
            ),
            loss_nodes=frozenset(data["loss_nodes"]),
            batch_size=data["batch_size"],
            loss=data["loss"],
            loss_source=data["loss_source"],
            data=data["data"],
            parity=Parity(**data["parity"]),
            notes=tuple(data["notes"]),
            predicted=_predicted(data["predicted"]),
            evaluation=_evaluation(data["evaluation"], folder / "evaluation.pb"),
            doubled=data["doubled"],
        )

    def _to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "location": self.location.to_dict(),
            "nodes": [dataclasses.asdict(site) for site in self.nodes],
            "tensors": [dataclasses.asdict(each) for each in self.tensors],
            "loss_nodes": sorted(self.loss_nodes),
            "batch_size": self.batch_size,
            "loss": self.loss,
            "loss_source": self.loss_source,
            "data": self.data,
            "parity": dataclasses.asdict(self.parity),
            "notes": list(self.notes),
            "evaluation": None
            if self.evaluation is None
            else {"tensors": self.evaluation.tensors, "reason": self.evaluation.reason},
            "doubled": self.doubled,
            "predicted": None if self.predicted is None else dataclasses.asdict(self.predicted),
        }


@dataclass(frozen=True, slots=True)
class CaptureRefused:
    """A model of which no training step could be captured.

    Attributes:
        model: Display name of the model.
        location: The line that stands in the way, or that of the model.
        reason: One sentence, without a final period.
        hint: What the user may do about it, may be empty.
    """

    model: str
    location: Location
    reason: str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the refusal as JSON-compatible data."""
        return {**dataclasses.asdict(self), "location": self.location.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CaptureRefused:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "location": Location.from_dict(data["location"])})


def _site(data: Mapping[str, Any]) -> Site:
    return Site(data["path"], *(_place(data[key]) for key in ("location", "call", "built")))


def _predicted(data: Mapping[str, Any] | None) -> Predicted | None:
    if data is None:
        return None
    return Predicted(tuple(PredictedLayer(**each) for each in data["layers"]), data["loss"])


def _evaluation(data: Mapping[str, Any] | None, graph: Path) -> Evaluation | None:
    if data is None:
        return None
    return Evaluation(graph.read_bytes(), tuple(data["tensors"]), data["reason"])


def _place(data: Mapping[str, Any] | None) -> Location | None:
    return None if data is None else Location.from_dict(data)


def _content(path: Path) -> bytes | memoryview:
    if path.stat().st_size < _MAPPED or not hasattr(mmap, "MAP_PRIVATE"):
        return path.read_bytes()
    with path.open("rb") as file:
        # The pages stay when the file's name goes.
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
