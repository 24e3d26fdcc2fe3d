"""From a live module to a `ModelGraph`: trace, positions, shapes, loss."""
