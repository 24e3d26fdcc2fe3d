"""What is asked of a probe and how the answer is read, one file for each kind of experiment.

A file of this folder defines `KIND`, the name of its field in `Experiment.kind`, with:

- `ask(subject)`: the settings for the service, or a sentence that says why this model cannot be
  asked; for the client.
- `check(field, experiment, limits)`: what is wrong with settings; for the service, on its front
  and in its worker.
- `work(experiment)`: how much there is to do.
- `graphs(experiment)`: further graphs that it needs.
- `read(result, subject)`: the answer as plain data; for the client.

None of them imports torch. What runs is the file of the same name in `experiments`.
"""

from nnlint.probe_service.asking.base import Asking, Subject, Work, find, kinds

__all__ = ["Asking", "Subject", "Work", "find", "kinds"]
