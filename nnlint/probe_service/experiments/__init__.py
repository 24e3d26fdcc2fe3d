"""What a probe does with a graph, one file for each kind of experiment.

A file of this folder defines `KIND`, the name of its field in `Experiment.kind`;
`needs(experiment)`, which says how much memory it takes beyond the steps themselves; and
`run(experiment, context)`, which begins with the initial state and may leave any other behind.
There is no other list. What is asked and answered is checked and read in the file of the same name
in `asking`.
"""

from nnlint.probe_service.experiments.base import Context, find
from nnlint.probe_service.experiments.needs import Needs

__all__ = ["Context", "Needs", "find"]
