"""Rules on initial weights."""
