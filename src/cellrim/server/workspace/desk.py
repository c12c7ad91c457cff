"""The workspace behind the page: its images, its set of corrections, its trainer, its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute

from cellrim.core.image import Image
from cellrim.errors import CellrimError, ImageReadError
from cellrim.io.images import read_image
from cellrim.models.registry import ModelFolder, find_model
from cellrim.server.models import Models
from cellrim.server.options import without_path
from cellrim.server.problems import ApiError
from cellrim.server.segment import as_problem
from cellrim.server.work import Stopped, Work, check_stop, stoppable
from cellrim.server.workspace.corrected import CorrectedSet
from cellrim.server.workspace.picture import Picture, Settled
from cellrim.server.workspace.pictures import Pictures
from cellrim.server.workspace.trainer import Trainer

# Seconds for a megapixel before any has been timed.
_FIRST_RATE = 3.0
_MEMORY = 0.3  # how much the latest image counts in the estimate


class Workspace:
    """Pictures, the set, the trainer, and the tasks that run for them."""

    def __init__(self, app: FastAPI) -> None:
        data: Path = app.state.settings.data
        self.app = app
        self.pictures = Pictures(data / "workspace")
        self.corrected = CorrectedSet(data / "corrected")
        self.trainer = Trainer(data / "trainings")
        self.rate = _FIRST_RATE
        self._tasks: set[asyncio.Task[None]] = set()
        for folder in self.trainer.models():
            try:
                self.models.add(folder)
            except CellrimError:  # a training that was cut off: its model is not offered
                continue

    @property
    def models(self) -> Models:
        """The server's models."""
        models: Models = self.app.state.models
        return models

    @property
    def work(self) -> Work:
        """Where segmentation runs."""
        work: Work = self.app.state.work
        return work

    def model_folder(self, name: str) -> ModelFolder:
        """Find where a model of this server is.

        Raises
        ------
        ModelError
            If there is none of this name.
        """
        card = self.models.get(name).card
        known = (*self.app.state.settings.model_folders, *self.trainer.models())
        for folder in map(find_model, known):
            if folder.card == card:
                return folder
        return find_model(name)

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the requests."""
        running = asyncio.get_running_loop().create_task(task)
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all that runs, and let the pictures go."""
        await asyncio.to_thread(self.trainer.stop)
        self.pictures.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def segment(self, picture: Picture, settled: Settled) -> None:
        """Read and segment a picture; what goes wrong is written on it."""

        def job() -> None:
            picture.begin("working")
            segmenter = stoppable(self.models.get(settled.model))
            if not picture.channels:
                picture.keep_image(_read(picture))
            check_stop()
            picture.segment(segmenter, settled)

        await self._run(picture, job, pixels=picture.pixels)
        if picture.error is None:
            rate = picture.seconds / max(picture.pixels / 1e6, 0.05)
            self.rate += _MEMORY * (rate - self.rate)

    async def _run(self, picture: Picture, job: Callable[[], None], *, pixels: int) -> None:
        try:
            await self.work.run(job, pixels=pixels, stop=picture.stop)
            picture.end(None)
        except Stopped:
            picture.end("It was removed.")
        except (CellrimError, ApiError, OSError, MemoryError) as error:
            picture.end(without_path(as_problem(error), picture.upload, picture.name))
        except Exception as error:
            picture.end(f"The server failed on {picture.name} ({type(error).__name__}).")
            raise

    async def train(self) -> None:
        """Follow a training, offer its model, and compare it with the one before."""
        trainer, training = self.trainer, self.trainer.training
        try:
            model = await asyncio.to_thread(trainer.wait)
            if model is None:
                return
            self.models.add(model)
            names = {c.key: c.name for c in self.corrected.all()}
            before, after = self.models.get(training.base), self.models.get(training.model)
            await self.work.run(partial(trainer.compare, names, before, after))
        except (CellrimError, ApiError, OSError) as error:
            trainer.fail(f"The training ended, but its model cannot be judged: {error}")


def _read(picture: Picture) -> Image:
    try:
        return read_image(picture.upload)
    except ImageReadError as error:
        text = without_path(error, picture.upload, picture.name)
        raise ApiError("unreadable-image", text) from error


async def workspace_of(request: Request) -> Workspace:
    """Return the application's workspace, made when first asked for."""
    state = request.app.state
    if not hasattr(state, "workspace"):
        state.workspace = Workspace(request.app)
    workspace: Workspace = state.workspace
    return workspace


In = Annotated[Workspace, Depends(workspace_of)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the workspace, if there is one, when the application ends."""
    yield
    if hasattr(app.state, "workspace"):
        await app.state.workspace.close()


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
