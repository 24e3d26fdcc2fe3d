"""Rules on normalisation and dropout."""
