"""From an exported training step to the graph that is sent."""
