"""Rules about activations and what stands between layers."""
