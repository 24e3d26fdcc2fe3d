"""Rules about how layers are connected: unused, unregistered, cut off, mixed up."""
