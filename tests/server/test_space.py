import asyncio
import threading

import pytest

from cellrim.server.problems import ApiError
from cellrim.server.space import Folder, Old, Space, bytes_below


class Shelf:
    """Things by name: how long nobody needed them, their bytes, and whether they may go."""

    def __init__(self, **things):
        self.things = things
        self.held = set()

    def used_bytes(self):
        return sum(size for _, size, _ in self.things.values())

    def removable(self):
        return [
            Old(key, idle, size, lambda key=key: self._remove(key))
            for key, (idle, size, may_go) in self.things.items()
            if may_go
        ]

    def _remove(self, key):
        if key in self.held:
            return False
        del self.things[key]
        return True


@pytest.fixture
def shelves():
    return {
        "jobs": Shelf(old=(50, 30, True), new=(1, 30, True), open=(99, 10, False)),
        "images": Shelf(between=(20, 20, True)),
        "models": Shelf(model=(1000, 10, False)),
    }


@pytest.fixture
def space(shelves):
    space = Space(100)
    for kind, shelf in shelves.items():
        space.add(kind, shelf)
    return space


def left(shelves):
    return {key for shelf in shelves.values() for key in shelf.things}


def put(space, size, **more):
    with space.reserve(size, **more):
        pass


@pytest.mark.parametrize(
    ("size", "gone"),
    [
        (0, set()),
        (1, {"old"}),
        (30, {"old"}),
        (31, {"old", "between"}),
        (51, {"old", "between", "new"}),
        (80, {"old", "between", "new"}),
    ],
)
def test_what_nobody_needed_for_longest_goes_whatever_it_is(space, shelves, size, gone):
    everything = left(shelves)
    put(space, size)
    assert everything - left(shelves) == gone


def test_what_cannot_fit_is_refused_and_removes_nothing(space, shelves):
    everything = left(shelves)
    with pytest.raises(ApiError) as caught:
        put(space, 81)
    assert (caught.value.kind, caught.value.status) == ("over-quota", 507)
    for words in ("trained models and trainings 0.01 kB", "Delete corrected images or trained"):
        assert words in caught.value.detail
    assert left(shelves) == everything


def test_what_is_kept_or_held_does_not_go(space, shelves):
    put(space, 1, keep="old")
    assert "old" in left(shelves)
    assert "between" not in left(shelves)
    shelves["jobs"].held.add("old")
    put(space, 25)
    assert left(shelves) == {"old", "open", "model"}
    with pytest.raises(ApiError):
        put(space, 80)


def test_what_is_reserved_counts_until_it_is_there(space):
    with space.reserve(80):
        assert space.used_bytes() == 100
        with pytest.raises(ApiError):
            put(space, 1)
    put(space, 1)


def test_two_at_once_do_not_get_the_same_space():
    space, refused = Space(100), []
    together = threading.Barrier(8)

    def ask():
        together.wait()
        try:
            with space.reserve(30):
                together.wait()
        except ApiError:
            refused.append(1)
            together.wait()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 5


def test_a_coroutine_that_is_called_off_gives_its_space_back(space):
    async def hold():
        async with space.reserve_async(20):
            await asyncio.sleep(60)

    async def main():
        with space._lock:  # as if another request were just making room
            task = asyncio.create_task(hold())
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.2)
        async with space.reserve_async(80):
            assert space.used_bytes() == 100
        with pytest.raises(ApiError):
            async with space.reserve_async(81):
                raise AssertionError

    asyncio.run(main())
    assert space._reserved == 0


def test_tidy_brings_back_below_the_quota(space, shelves):
    shelves["images"].things["grown"] = (0, 25, True)
    space.tidy()
    assert "old" not in left(shelves)
    assert space.used_bytes() <= 100
    shelves["models"].things["large"] = (0, 500, False)
    space.tidy()  # as far as it goes
    assert left(shelves) == {"open", "model", "large"}


def test_folders_are_counted_with_all_below(tmp_path):
    folder = Folder(tmp_path / "a")
    assert folder.used_bytes() == 0
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, size in (("x", 10), ("b/y", 7)):
        (tmp_path / "a" / name).write_bytes(bytes(size))
    assert folder.used_bytes() == bytes_below(tmp_path) == 17
    assert list(folder.removable()) == []
