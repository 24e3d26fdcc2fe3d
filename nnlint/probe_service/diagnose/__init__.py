"""On the client, from what was measured to findings in the user's source."""
