"""Rules about logarithms, roots, divisions and exponentials."""
