"""A captured training step: what goes to the server, and what stays with the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nnlint.linter.findings import Location
from nnlint.linter.measured import Site


@dataclass(frozen=True, slots=True)
class TensorSite:
    """What the client knows of one tensor of the graph.

    Attributes:
        name: Qualified name of a parameter or buffer, name of an input.
        site: Place of the layer that owns it.
    """

    name: str
    site: Site = field(default_factory=Site)


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
