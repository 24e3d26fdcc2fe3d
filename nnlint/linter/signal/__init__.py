"""Signal propagation: how large activations and gradients are, told without running the model."""

# The task of `nnlint summary`, named here so that its caller need not import torch.
TASK = "nnlint.linter.signal.summary:task"
