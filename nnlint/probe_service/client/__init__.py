"""On the client, from a captured step to what the server measured."""
