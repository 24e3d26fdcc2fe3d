"""In the server's worker, the graph run node by node and measured."""
