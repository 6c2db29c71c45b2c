"""Side-by-side benchmarks; see `python -m bench --help`."""

import services  # noqa: F401 - settles how the gRPC core behaves, before grpc is imported
