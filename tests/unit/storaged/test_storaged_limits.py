"""Caps by prefix and places for uploads."""

from __future__ import annotations

import asyncio

import pytest

from services.storaged.config import MIB, StorageConfig
from services.storaged.errors import ObjectTooLarge, TooManyUploads
from services.storaged.limits import Caps, UploadSlots, check_size


def test_the_longest_prefix_that_fits_decides() -> None:
    caps = Caps(10, {"_vectors/": 40, "_vectors/small/": 5})
    assert [caps.limit(key) for key in ("a", "_vectors/x", "_vectors/small/x", "_vectorsx")] == [10, 40, 5, 10]


def test_the_defaults_are_four_gibibytes_for_vectors_and_a_quarter_for_the_rest() -> None:
    config = StorageConfig()
    caps = Caps(config.max_object_bytes, config.prefix_caps)
    assert caps.limit("_vectors/a.lhv1") == 4096 * MIB
    assert caps.limit("datasets/a.parquet") == 256 * MIB


def test_a_size_at_the_limit_fits_and_one_more_byte_does_not() -> None:
    check_size("a", 10, 10)
    with pytest.raises(ObjectTooLarge) as caught:
        check_size("a", 11, 10)
    assert caught.value.metadata == {"key": "a", "limit": "10"}


async def test_a_client_without_a_place_is_turned_away_at_once_and_told_when_to_return() -> None:
    slots = UploadSlots(1, 1)
    async with slots.hold(internal=False):
        with pytest.raises(TooManyUploads) as caught:
            async with slots.hold(internal=False):
                pytest.fail("there was no place")
        assert caught.value.retry_after == 5
    async with slots.hold(internal=False):
        pass


async def test_a_daemon_without_a_place_waits_for_one_and_takes_none_of_the_clients() -> None:
    slots = UploadSlots(1, 1)
    order: list[str] = []

    async def second() -> None:
        async with slots.hold(internal=True):
            order.append("second")

    async with slots.hold(internal=False), slots.hold(internal=True):
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        order.append("first")
    await waiting
    assert order == ["first", "second"]


async def test_a_daemon_that_gives_up_waiting_leaves_its_place_to_others() -> None:
    slots = UploadSlots(1, 1)
    async with slots.hold(internal=True):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), slots.hold(internal=True):
                pytest.fail("there was no place")
    async with slots.hold(internal=True):
        pass


@pytest.mark.parametrize(
    ("setting", "config"),
    [
        ("default_backend", {"default_backend": "s4"}),
        ("max_uploads", {"max_uploads": 0}),
        ("max_object_bytes", {"max_object_bytes": -1}),
        ("prefix_caps", {"prefix_caps": {"a/": 0}}),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(setting: str, config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{setting}: "):
        StorageConfig(**config)  # type: ignore[arg-type]  # wrong values are the point
