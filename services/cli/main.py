"""Entry point of the `lakehouse` command."""

from __future__ import annotations

import sys


def run() -> None:
    """Runs the command line; says which package is missing instead of showing a traceback."""
    try:
        from services.cli.app import app
    except ModuleNotFoundError as error:
        # Not even `doctor` can start then, so this is the one place that can say it.
        package = (error.name or "").partition(".")[0]
        sys.stderr.write(f"error: the Python package {package!r} is missing\n")
        sys.stderr.write("hint:  install the application with its dependencies: pip install .\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    app()


if __name__ == "__main__":
    run()
