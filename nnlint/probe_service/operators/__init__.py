"""The operators that a graph may use: reviewed one by one, by full overload name.

Each file of this folder declares one group by calling `allow` at module level; there is no other
list. What is not declared is refused, so an operator that writes files, takes memory as it is, or
reads beyond its operands is denied by its absence. Nothing here imports torch.
"""

from nnlint.probe_service.operators.base import Reviewed, reviewed

__all__ = ["Reviewed", "reviewed"]
