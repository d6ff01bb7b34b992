"""Places are dealt out so that no client keeps another from a first one."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.api.errors import TooMany
from qmrunner.api.shares import CLIENT, Shares
from qmrunner.errors import NotReadyError, QmrunnerError


class Client:
    """Holds a place until its end."""

    def __init__(self, shares: Shares, name: str, seconds: float = 30.0) -> None:
        self.name = name
        self.inside = False
        self.problem: QmrunnerError | None = None
        self._enough = asyncio.Event()
        self.task = asyncio.create_task(self._hold(shares, seconds))

    async def _hold(self, shares: Shares, seconds: float) -> None:
        CLIENT.set(self.name)
        try:
            async with shares.place(seconds):
                self.inside = True
                await self._enough.wait()
        except QmrunnerError as problem:
            self.problem = problem
        finally:
            self.inside = False

    async def end(self) -> None:
        self._enough.set()
        await self.task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_who_holds_none_is_served_before_all_that_a_greedy_client_has_waiting() -> None:
    async def story() -> None:
        shares = Shares("checks", 4, 2, kept=1, waiting=50)
        greedy = [Client(shares, "greedy") for _ in range(45)]
        await settle()
        assert [one.inside for one in greedy] == [True, True, *[False] * 43]
        other = Client(shares, "other")
        await settle()
        assert other.inside  # at once
        for one in [other, *greedy]:
            await one.end()
        assert (shares.taken, shares.refused) == (0, 0)

    asyncio.run(story())


def test_a_client_over_its_bound_is_refused_and_others_learn_that_all_is_taken() -> None:
    async def story() -> None:
        shares = Shares("uploads", 2, 2, kept=0, waiting=1)
        clients = [Client(shares, "greedy") for _ in range(4)]
        late = Client(shares, "other", seconds=0.0)
        await settle()
        for one in clients[:3]:
            assert one.problem is None
        assert isinstance(clients[3].problem, TooMany)
        assert clients[3].problem.code == "too_many_uploads"
        assert clients[3].problem.remedy
        assert isinstance(late.problem, NotReadyError)
        for one in clients:
            await one.end()

    asyncio.run(story())


def test_a_place_that_is_waited_for_too_long_is_given_up() -> None:
    async def story() -> None:
        shares = Shares("uploads", 1, 1, waiting=5)
        first, second = Client(shares, "a"), Client(shares, "b", seconds=0.02)
        await second.task
        assert isinstance(second.problem, NotReadyError)
        await first.end()
        third = Client(shares, "b")
        await settle()
        assert third.inside
        await third.end()

    asyncio.run(story())


ACTS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["come", "leave", "cancel"]), st.integers(0, 9)))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2), ACTS)
def test_places_are_never_lost_or_given_twice(
    total: int, share: int, kept: int, acts: list[tuple[str, str, int]]
) -> None:
    async def story() -> None:
        shares = Shares("checks", total, share, kept=kept, waiting=3)
        there: list[Client] = []
        for name, act, number in acts:
            mine = [one for one in there if one.name == name]
            if act == "come":
                there.append(Client(shares, name))
            elif mine:
                one = mine[number % len(mine)]
                there.remove(one)
                if act == "cancel":
                    one.task.cancel()
                    with suppress(asyncio.CancelledError):
                        await one.task
                else:
                    await one.end() if one.inside or one.problem else there.append(one)
            await settle()
            held = Counter(one.name for one in there if one.inside)
            assert held.total() == shares.taken <= total
            assert max(held.values(), default=0) <= share
            waiting = {one.name for one in there if not one.inside and one.problem is None}
            free = total - shares.taken
            assert not [name for name in waiting if held[name] == 0 and free > 0]
        while there:
            inside = next(one for one in there if one.inside or one.problem)
            there.remove(inside)
            await inside.end()
            await settle()
        assert shares.taken == 0

    asyncio.run(story())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_who_is_cancelled_in_the_moment_of_its_turn_keeps_no_place(moment: str) -> None:
    async def story() -> None:
        shares = Shares("checks", 1, 1, waiting=5)
        first, second = Client(shares, "a"), Client(shares, "b")
        await settle()
        ending = asyncio.create_task(first.end())
        if moment == "before":
            second.task.cancel()
            await settle()
        else:
            while shares.taken and not ending.done():
                await asyncio.sleep(0)
            second.task.cancel()
        with suppress(asyncio.CancelledError):
            await second.task
        await ending
        assert shares.taken == 0

    asyncio.run(story())
