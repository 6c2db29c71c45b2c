"""How fast a job goes and how long it will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 5.0


class Meter:
    """Measures units a second over the last few seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells monotonic seconds; measuring begins now."""
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])

    def mark(self, done: int) -> None:
        """Notes how many units are done by now."""
        now = self._clock()
        self._samples.append((now, done))
        # One sample older than the window stays, so that a slow job has a rate too.
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW_SECONDS:
            self._samples.popleft()

    def rate(self) -> float:
        """Units a second; 0 before the second mark."""
        (begin, before), (end, done) = self._samples[0], self._samples[-1]
        return (done - before) / (end - begin) if end > begin else 0.0

    def eta(self, total: int | None) -> float | None:
        """Seconds until `total` units are done; None while unknown."""
        rate = self.rate()
        if total is None or rate <= 0:
            return None
        return max(0.0, (total - self._samples[-1][1]) / rate)
