"""On the client, from a captured step to what the server measured."""

from __future__ import annotations

import os

# Before gRPC is imported: what it writes about a connection that fails is said by us, in a sentence.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
