import asyncio
import threading
import time

import pytest

from cellrim.server.problems import ApiError
from cellrim.server.work import Stopped, Work, check_stop


def make(**changes):
    values = {"workers": 2, "max_waiting": 100, "max_pixels": 100, "max_seconds": 60}
    return Work(**values | changes)


class Meter:
    """Counts how many functions run at once, and their pixels."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = self.pixels = self.most_pixels = 0

    def task(self, pixels, seconds=0.02):
        def run():
            with self.lock:
                self.now += 1
                self.pixels += pixels
                self.most = max(self.most, self.now)
                self.most_pixels = max(self.most_pixels, self.pixels)
            time.sleep(seconds)
            with self.lock:
                self.now -= 1
                self.pixels -= pixels
            return pixels

        return run


def test_bounds_hold_and_everything_is_done():
    async def main():
        work, meter = make(), Meter()
        sizes = [10, 60, 30, 70, 250, 5, 50, 100, 1] * 3
        done = await asyncio.gather(*(work.run(meter.task(n), pixels=n) for n in sizes))
        assert done == sizes
        assert meter.most == 2
        assert meter.most_pixels == 250  # one that is too large for the bound runs alone
        assert (work.running, work.pixels, work.waiting) == (0, 0, 0)
        work.close()

    asyncio.run(main())


def test_a_full_queue_is_refused():
    async def main():
        work, meter = make(workers=1, max_waiting=2), Meter()
        tasks = [asyncio.create_task(work.run(meter.task(1, 0.2))) for _ in range(4)]
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert done[:3] == [1, 1, 1]
        assert isinstance(done[3], ApiError)
        assert done[3].kind == "busy"
        work.close()

    asyncio.run(main())


def test_errors_come_out_and_free_the_place():
    async def main():
        work = make(workers=1)

        def fails():
            raise KeyError("x")

        for _ in range(3):
            with pytest.raises(KeyError):
                await work.run(fails, pixels=100)
        assert await work.run(lambda: 1, pixels=100) == 1
        work.close()

    asyncio.run(main())


def test_callers_that_leave_free_their_places():
    async def main():
        work, begun, open_ = make(workers=1), threading.Event(), threading.Event()

        def blocks():
            begun.set()
            open_.wait(10)

        running = asyncio.create_task(work.run(blocks, pixels=90))
        waiting = asyncio.create_task(work.run(lambda: 1, pixels=90))
        await asyncio.to_thread(begun.wait, 10)
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert work.waiting == 0
        assert work.running == 1  # the thread is still at it
        open_.set()
        assert await work.run(lambda: 2, pixels=90) == 2
        assert (work.running, work.pixels) == (0, 0)
        work.close()

    asyncio.run(main())


def endless():
    while True:
        check_stop()
        time.sleep(0.005)


def test_time_limit():
    async def main():
        work = make(max_seconds=0.05)
        with pytest.raises(ApiError) as caught:
            await work.run(endless)
        assert caught.value.kind == "took-too-long"
        work.close()

    asyncio.run(main())


def test_calling_off():
    async def main():
        work, stop = make(), threading.Event()
        task = asyncio.create_task(work.run(endless, stop=stop))
        await asyncio.sleep(0.05)
        stop.set()
        with pytest.raises(Stopped):
            await task
        work.close()

    asyncio.run(main())


def test_closing_calls_everything_off():
    async def main():
        work = make()
        task = asyncio.create_task(work.run(endless))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(work.close)
        with pytest.raises(Stopped):
            await task

    asyncio.run(main())


def test_outside_of_work_nothing_is_stopped():
    check_stop()
