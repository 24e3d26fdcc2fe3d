"""Rules about the loss and what reaches it."""
