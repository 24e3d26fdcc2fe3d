"""Signal propagation: how large activations and gradients are, told without running the model."""
