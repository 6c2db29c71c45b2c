"""Texts that are asked for one by one share calls: with events instead of clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from services.embedd.batching import Batcher, Outcome
from services.embedd.errors import UpstreamFailed

FAR = 1e9


class Line:
    """What a batcher sends into: each call is noted, and ends when the test lets it."""

    def __init__(self, *, most: int = 32, calls: int = 4, linger: float = 0, patience: float = 3_600) -> None:
        self.sent: list[list[str]] = []
        self.deadlines: list[float] = []
        self.asked: asyncio.Queue[list[str]] = asyncio.Queue()
        self.gates: list[asyncio.Event] = []
        self.cancelled: list[list[str]] = []
        self.bad: set[str] = set()
        self.fails: Exception | None = None
        self.batcher = Batcher(self._send, most=most, calls=calls, linger=linger, patience=patience)

    async def _send(self, texts: Sequence[str], deadline: float) -> Sequence[Outcome]:
        gate = asyncio.Event()
        self.gates.append(gate)
        self.sent.append(list(texts))
        self.deadlines.append(deadline)
        self.asked.put_nowait(list(texts))
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(list(texts))
            raise
        if self.fails:
            raise self.fails
        return [
            UpstreamFailed("refused") if text in self.bad else np.array([len(text)], dtype=np.float32) for text in texts
        ]

    def ask(self, *texts: str, deadline: float = FAR) -> list[asyncio.Task[int]]:
        async def one(text: str) -> int:
            return int((await self.batcher.embed(text, deadline))[0])

        return [asyncio.create_task(one(text)) for text in texts]

    async def next_call(self) -> list[str]:
        return await asyncio.wait_for(self.asked.get(), 5)


async def settled() -> None:
    """Lets everything run that can run now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_texts_that_come_together_share_a_call() -> None:
    line = Line()
    asked = line.ask("a", "bb", "ccc")
    assert await line.next_call() == ["a", "bb", "ccc"]
    line.gates[0].set()
    assert await asyncio.gather(*asked) == [1, 2, 3]


async def test_texts_that_come_while_a_call_runs_share_the_next_one_in_their_order() -> None:
    line = Line()
    first = line.ask("a")
    await line.next_call()
    later = line.ask("bb", "ccc", "dddd")
    await settled()
    assert line.sent == [["a"]]
    line.gates[0].set()
    assert await line.next_call() == ["bb", "ccc", "dddd"]
    line.gates[1].set()
    assert await asyncio.gather(*first, *later) == [1, 2, 3, 4]


async def test_a_full_call_starts_without_waiting_and_no_call_has_too_many_texts() -> None:
    line = Line(most=2, linger=3_600)
    asked = line.ask("a", "bb", "ccc", "dddd", "eeeee")
    assert [await line.next_call(), await line.next_call()] == [["a", "bb"], ["ccc", "dddd"]]
    line.gates[0].set()
    assert await line.next_call() == ["eeeee"]
    for gate in line.gates:
        gate.set()
    assert await asyncio.gather(*asked) == [1, 2, 3, 4, 5]


async def test_no_more_calls_run_at_once_than_allowed() -> None:
    line = Line(most=1, calls=2)
    asked = line.ask("a", "bb", "ccc")
    await settled()
    assert line.sent == [["a"], ["bb"]]
    line.gates[1].set()
    await settled()
    assert line.sent == [["a"], ["bb"], ["ccc"]]
    for gate in line.gates:
        gate.set()
    await asyncio.gather(*asked)


async def test_a_call_that_got_stuck_holds_up_nobody_for_long() -> None:
    line = Line(patience=0)
    stuck = line.ask("a")
    await line.next_call()
    other = line.ask("bb")
    assert await line.next_call() == ["bb"]
    line.gates[1].set()
    assert await other[0] == 2
    assert not stuck[0].done()
    line.gates[0].set()
    await stuck[0]


async def test_a_text_that_is_refused_fails_its_own_caller_only() -> None:
    line = Line()
    line.bad = {"bb"}
    asked = line.ask("a", "bb", "ccc")
    await line.next_call()
    line.gates[0].set()
    first, second, third = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, third) == (1, 3)
    assert isinstance(second, UpstreamFailed)


async def test_a_caller_that_goes_away_leaves_the_others_undisturbed() -> None:
    line = Line()
    asked = line.ask("a", "bb")
    await line.next_call()
    asked[0].cancel()
    await asyncio.wait([asked[0]])
    line.gates[0].set()
    assert await asked[1] == 2
    assert not line.cancelled


async def test_a_call_ends_when_its_last_caller_has_gone_and_the_next_one_starts() -> None:
    line = Line()
    gone = line.ask("a", "bb")
    await line.next_call()
    waiting = line.ask("ccc")
    await settled()
    for task in gone:
        task.cancel()
    assert await line.next_call() == ["ccc"]
    assert line.cancelled == [["a", "bb"]]
    line.gates[1].set()
    assert await waiting[0] == 3


async def test_a_text_whose_caller_has_gone_before_it_was_sent_is_not_sent() -> None:
    line = Line()
    running = line.ask("a")
    await line.next_call()
    waiting = line.ask("bb", "ccc")
    await settled()
    waiting[0].cancel()
    await settled()
    line.gates[0].set()
    assert await line.next_call() == ["ccc"]
    line.gates[1].set()
    assert [await running[0], await waiting[1]] == [1, 3]


async def test_a_shared_call_may_take_as_long_as_its_most_patient_caller() -> None:
    line = Line()
    asked = line.ask("a", deadline=5) + line.ask("bb", deadline=9) + line.ask("ccc", deadline=7)
    await line.next_call()
    assert line.deadlines == [9]
    line.gates[0].set()
    await asyncio.gather(*asked)


async def test_a_call_that_fails_as_a_whole_fails_every_caller_and_not_the_next() -> None:
    line = Line()
    line.fails = UpstreamFailed("down")
    asked = line.ask("a", "bb")
    await line.next_call()
    line.gates[0].set()
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(outcome, UpstreamFailed)
    line.fails = None
    again = line.ask("a")
    await line.next_call()
    line.gates[1].set()
    assert await again[0] == 1


async def test_thousands_of_texts_are_answered_each_with_its_own() -> None:
    line = Line(most=7, calls=3)
    texts = ["x" * (number % 50 + 1) for number in range(2_000)]
    asked = line.ask(*texts)
    everything = asyncio.gather(*asked)
    while not everything.done():
        for gate in line.gates:
            gate.set()
        await asyncio.sleep(0)
    assert await everything == [len(text) for text in texts]
    assert [text for call in line.sent for text in call] == texts


@pytest.mark.parametrize("calls", [1, 4])
async def test_nothing_is_left_behind(calls: int) -> None:
    line = Line(calls=calls)
    asked = line.ask("a", "bb")
    await line.next_call()
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)
    await settled()
    again = line.ask("ccc")
    assert await line.next_call() == ["ccc"]
    line.gates[1].set()
    assert await again[0] == 3
