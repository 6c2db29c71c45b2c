"""The daemons and what runs them. Importing it settles how the gRPC core behaves, before grpc itself is imported."""

import os

# Processes are started by exec, never used after a fork: the core's fork handlers would only get in the way.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# The core reports connections that come and go; our own logs say what matters.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
