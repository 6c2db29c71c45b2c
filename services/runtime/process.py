"""Child processes of an asyncio program.

asyncio's own are not used: under uvloop they begin as a fork of this process with all its threads,
and now and then a child hangs on a lock that a thread of gRPC held at that moment. `Popen` starts
children by vfork, which cannot.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_POLL_SECONDS = 0.05


class Process:
    """A child process that can be awaited."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        output: IO[bytes],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        new_session: bool = False,
    ) -> None:
        """Starts it; standard output and error go to `output`, there is no input. Raises OSError."""
        self._process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=new_session,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Returns the exit code once it has ended."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - nothing tells of its end on every system
            await asyncio.sleep(_POLL_SECONDS)
        return code

    def terminate(self) -> None:
        """Asks it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
