"""How much memory an experiment takes beyond the steps themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Needs:
    """Multiples of the trainable parameters' bytes, and further programs.

    Attributes:
        optimizer: Tensors that the optimiser keeps for each parameter.
        copies: Copies of each parameter.
        programs: Graphs with parameters, buffers and inputs of their own, as large as the probe's.
    """

    optimizer: int = 0
    copies: int = 0
    programs: int = 0
