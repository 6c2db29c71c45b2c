"""`lakehouse lift`: is the second time better, and can it be worse unnoticed?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from services.labs.reality import lift_arms, lift_guard, lift_passes, lift_roles
from services.labs.reality.lift_arms import Arms, Narrowed
from services.labs.reality.lift_guard import Suite
from services.labs.reality.lift_passes import Passes, Round
from services.labs.reality.lift_roles import Style
from services.labs.world import Say, World, sanity


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that one run measured."""

    rounds: tuple[Round, ...]
    suite: Suite | None
    styles: tuple[Style, ...]
    arms: Arms | None
    narrowed: Narrowed | None
    seconds: dict[str, float]


async def run(world: World, *, k: int, folder: Path, keep_playbooks: bool, say: Say) -> Outcome:
    """Runs every part, one after the other. Raises ServiceError, and UnfitData when three rows are not three."""
    seconds: dict[str, float] = {}

    def step(name: str, words: str) -> None:
        now = time.monotonic()
        for running, began in list(started.items()):
            seconds[running] = now - began
            del started[running]
        if name:
            started[name] = now
            say(words)

    started: dict[str, float] = {}
    step("sanity", "three rows in, COUNT(*) out")
    await sanity(world.client, folder)
    step("passes", f"asking {len(world.queries)} questions cold, recording, asking again")
    passes = Passes(world, k)
    rounds = await passes.run()
    step("adversarial", "asking questions that look alike")
    suite = await lift_guard.run(world, rounds)
    step("roles", "asking for other roles at the same place")
    styles = await lift_roles.run(world)
    step("arms", "comparing dense, lexical and hybrid retrieval")
    arms = await lift_arms.compare(world, world.seed)
    narrowed = await lift_arms.narrowed(world, world.seed)
    rounds = await passes.stretches(rounds)
    step("", "")
    if not keep_playbooks:
        for purpose in (lift_passes.PURPOSE, lift_guard.PURPOSE, *(f"roles_{style.style}" for style in styles)):
            await world.client.drop_index(world.playbook(purpose))
    return Outcome(rounds=rounds, suite=suite, styles=styles, arms=arms, narrowed=narrowed, seconds=seconds)
