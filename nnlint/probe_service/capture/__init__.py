"""On the client, from a live model to a training step that is ready to send."""
