"""The workspace behind the page: its images, its set of corrections, its trainer, its tasks."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from cellrim.errors import CellrimError
from cellrim.io.extent import read_extent
from cellrim.models.registry import ModelFolder, find_model
from cellrim.prediction.segmenter import Segmenter
from cellrim.server.models import Models
from cellrim.server.options import Cost, read_upload, without_path
from cellrim.server.parts import Parts
from cellrim.server.problems import ApiError
from cellrim.server.segment import as_problem
from cellrim.server.settings import Settings
from cellrim.server.space import Folder, bytes_below
from cellrim.server.work import Stopped, Work, check_stop, stoppable
from cellrim.server.workspace.corrected import CorrectedSet
from cellrim.server.workspace.picture import LABEL_BYTES, Picture, Settled
from cellrim.server.workspace.pictures import Pictures
from cellrim.server.workspace.trainer import Trainer, train_command, training_bytes

_log = logging.getLogger("cellrim.server")

T = TypeVar("T")

# Views, edits, measurements and downloads at the same time. They do not wait for segmentation.
_LOOKS = 4
# Seconds for a megapixel before any has been timed.
_FIRST_RATE = 3.0
_MEMORY = 0.3  # how much the latest image counts in the estimate


class Workspace:
    """Pictures, the set, the trainer, and the tasks that run for them.

    Parameters
    ----------
    parts
        What it works with. Models of earlier trainings are added to its models.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        data = parts.settings.data
        self.pictures = Pictures(data / "workspace")
        self.corrected = CorrectedSet(data / "corrected")
        command = partial(train_command, patches=parts.settings.training_patches)
        self.trainer = Trainer(data / "trainings", command=command)
        self.space = parts.space
        self.space.add("images", self.pictures)
        self.space.add("corrected", Folder(self.corrected.folder))
        self.space.add("models", self.trainer)
        self.rate = _FIRST_RATE
        self._looks = Work(
            workers=_LOOKS,
            max_waiting=parts.settings.max_waiting,
            max_pixels=parts.settings.max_pixels,
            max_seconds=parts.settings.max_seconds,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self.trainer.tidy()
        for folder in self.trainer.models():
            try:
                self.models.add(folder)
            except CellrimError as error:
                _log.warning("The model in %s is not offered: %s", folder, error)

    @property
    def settings(self) -> Settings:
        """The server's settings."""
        return self._parts.settings

    @property
    def models(self) -> Models:
        """The server's models."""
        return self._parts.models

    @property
    def waiting(self) -> int:
        """Images that wait to be segmented."""
        return self._parts.work.waiting

    async def close(self) -> None:
        """End all that runs, and let the pictures go."""
        await asyncio.to_thread(self.trainer.stop)
        self.pictures.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._looks.close()

    # ------------------------------------------------------------------ pictures

    async def look(self, picture: Picture, function: Callable[[], T]) -> T:
        """Run what takes memory for each pixel of a picture, when there is room for it.

        Raises
        ------
        ApiError
            ``busy`` if too many wait already.
        """
        return await self._looks.run(function, pixels=picture.cost.pixels)

    async def write(self, picture: Picture, write: Callable[[Path], None], *, ending: str) -> Path:
        """Write a file about a picture into a new folder of its own; returns the file's path."""
        folder = self._parts.store.incoming()
        path = folder / f"answer{ending}"

        def job() -> None:
            folder.mkdir(parents=True)
            write(path)

        try:
            await self.look(picture, job)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        return path

    def take_in(self, folder: Path, name: str, cost: Cost, settled: Settled) -> Picture:
        """Make a picture of a folder with an upload; others go where there is no space; blocks.

        Raises
        ------
        ApiError
            ``over-quota`` if there is no space even then.
        """
        size = bytes_below(folder)
        picture = Picture(folder.name, name, folder, cost, settled, size)
        with self.space.reserve(picture.size_when("waiting") - size):
            self.pictures.add(picture)
        return picture

    def collect(self, picture: Picture) -> None:
        """Put a picture into the set as it is corrected now; blocks.

        Raises
        ------
        ApiError
            ``over-quota`` if there is no space, ``wrong-input`` if it shows no cell.
        """
        size = picture.upload.stat().st_size + picture.cost.pixels * LABEL_BYTES
        with self.space.reserve(size, keep=picture.key):
            self.corrected.add(
                picture.key, picture.name, upload=picture.upload, result=picture.result()
            )

    def start_segmenting(self, picture: Picture, settled: Settled) -> None:
        """Segment a picture as soon as a worker is free."""
        picture.begin("waiting")
        self._spawn(self._segment(picture, settled))

    async def decode_again(self, picture: Picture, settled: Settled) -> None:
        """Make labels of the maps that are there; the network does not run."""
        segmenter = self.models.get(settled.model)
        job = partial(picture.decode_again, segmenter, settled)
        await self._parts.work.run(job, pixels=picture.cost.network)

    async def _segment(self, picture: Picture, settled: Settled) -> None:
        def job() -> None:
            self._begin(picture)
            segmenter = self._stoppable(settled.model)
            if not picture.channels:
                picture.keep_image(read_upload(picture.upload, picture.name))
            check_stop()
            picture.segment(segmenter, settled)

        await self._run(picture, job)
        if picture.stop.is_set():
            return
        failed = picture.error is not None
        self._parts.metrics.image("page", None if failed else picture.seconds, failed=failed)
        if not failed:
            rate = picture.seconds / picture.cost.megapixels
            self.rate += _MEMORY * (rate - self.rate)

    def _begin(self, picture: Picture) -> None:
        """Note that a picture is worked on, for which there must be space; blocks."""
        more = max(0, picture.size_when("working") - picture.size)
        with self.space.reserve(more, keep=picture.key):
            picture.begin("working")  # from now on it counts as large as it may become

    async def _run(self, picture: Picture, job: Callable[[], None]) -> None:
        try:
            await self._parts.work.run(job, pixels=picture.cost.network, stop=picture.stop)
            picture.end(None)
        except Stopped:
            picture.end("It was removed.")
        except (CellrimError, ApiError, OSError, MemoryError) as error:
            picture.end(without_path(as_problem(error), picture.upload, picture.name))
        except Exception as error:
            picture.end(f"The server failed on {picture.name} ({type(error).__name__}).")
            raise

    # ------------------------------------------------------------------ learning

    async def start_training(self, model: str, *, minutes: float) -> None:
        """Train on the set, from a model of this server on.

        Raises
        ------
        ModelError
            If there is none of this name.
        ApiError
            ``conflict`` if one is running, or there are too few images; ``over-quota``.
        """
        base = await asyncio.to_thread(self._folder_of, model)
        await asyncio.to_thread(self._begin_training, base, minutes)
        self._spawn(self._train())

    def _begin_training(self, base: ModelFolder, minutes: float) -> None:
        size = training_bytes(self.corrected, base)
        with self.space.reserve(size):
            self.trainer.start(self.corrected, base, minutes=minutes, size=size)

    def remove_model(self, name: str) -> None:
        """Remove a trained model for good; blocks.

        Raises
        ------
        ApiError
            ``not-found`` if none of this name was trained here, ``conflict`` if it is needed.
        """
        if name == self.settings.model:
            raise ApiError("conflict", f"The server was started with {name}: it needs the model.")
        self.trainer.remove(name)
        self.models.remove(name)

    def _folder_of(self, model: str) -> ModelFolder:
        return find_model(self.models.folder(model))

    async def _train(self) -> None:
        """Follow a training, offer its model, and compare it with the one before."""
        trainer = self.trainer
        try:
            model = await asyncio.to_thread(trainer.wait)
            if model is None:
                return
            self.models.add(model)
            await self._compare()
            await asyncio.to_thread(trainer.finish)
        except (CellrimError, ApiError, OSError, MemoryError) as error:
            trainer.fail(f"The training ended, but its model cannot be judged: {error}")
        except Exception as error:
            trainer.fail(f"The training ended, but judging it failed ({type(error).__name__}).")
            raise

    async def _compare(self) -> None:
        trainer, training = self.trainer, self.trainer.training
        before = await asyncio.to_thread(self._stoppable, training.base)
        after = await asyncio.to_thread(self._stoppable, training.model)
        for key, held_back in (await asyncio.to_thread(trainer.held_back)).items():
            extent = await asyncio.to_thread(read_extent, trainer.image_path(key))
            cost = Cost.of(extent, None, wanted=before.card.network_diameter)
            job = partial(trainer.compare, key, (before, after), held_back=held_back)
            await self._parts.work.run(job, pixels=cost.network)

    def _stoppable(self, model: str) -> Segmenter:
        return stoppable(self.models.get(model))

    def _spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the requests."""
        running = asyncio.get_running_loop().create_task(task)
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)


async def workspace_of(request: Request) -> Workspace:
    """Return the application's workspace."""
    workspace: Workspace = request.app.state.workspace
    return workspace


In = Annotated[Workspace, Depends(workspace_of)]


class Route(APIRoute):
    """Turns what cellrim raises into problems."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except (CellrimError, OSError, MemoryError) as error:
                raise as_problem(error) from error

        return guarded
