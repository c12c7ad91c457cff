"""What the page talks to: images in work, their labels and corrections, and learning from them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import math
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi import Path as InPath
from fastapi.routing import APIRoute
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

import cellrim
from cellrim.core.image import Image
from cellrim.errors import CellrimError, ImageReadError
from cellrim.io.extent import read_extent
from cellrim.io.images import read_image
from cellrim.models.registry import ModelFolder, find_model
from cellrim.server import editing
from cellrim.server.editing import Box, Change, EditedLabels
from cellrim.server.forms import FORMS, form_named
from cellrim.server.learning import CorrectedSet, Trainer, why_not
from cellrim.server.models import Models
from cellrim.server.options import Options, check_extent, without_path
from cellrim.server.pictures import UPLOAD, Picture, Pictures, Settled
from cellrim.server.problems import ApiError, documented
from cellrim.server.segment import FIELD, as_problem, multipart
from cellrim.server.uploads import Limits, receive
from cellrim.server.work import Stopped, Work, check_stop, stoppable

SAMPLE = Path(cellrim.__file__).parent / "samples" / "nuclei.tif"
MOST_MINUTES = 24 * 60.0

# Pixels of an edit that are sent at once; after a larger one the page asks for all labels again.
_MOST_SENT_PIXELS = 1_000_000
_MOST_POINTS = 20_000
_MOST_CELLS = 100_000
# Seconds for a megapixel before any has been timed.
_FIRST_RATE = 3.0
_MEMORY = 0.3  # how much the latest image counts in the estimate

Key = Annotated[
    str, InPath(pattern=r"^[0-9a-f]{32}$", description="Of an image.", examples=["0" * 32])
]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
PointIn = tuple[Coordinate, Coordinate]
CellId = Annotated[int, Field(ge=1, le=2**31 - 1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Delete(_Body):
    """Take cells away."""

    action: Literal["delete"]
    cells: Annotated[list[CellId], Field(min_length=1, max_length=_MOST_CELLS)]


class Merge(_Body):
    """Make one cell of several that touch."""

    action: Literal["merge"]
    cells: Annotated[list[CellId], Field(min_length=2, max_length=_MOST_CELLS)]


class Split(_Body):
    """Cut a cell along a line of x, y points; the one below the line where none is named."""

    action: Literal["split"]
    line: Annotated[list[PointIn], Field(min_length=2, max_length=_MOST_POINTS)]
    cell: CellId | None = None


class Draw(_Body):
    """Draw a new cell as a polygon of x, y points, or the named one anew."""

    action: Literal["draw"]
    polygon: Annotated[list[PointIn], Field(min_length=3, max_length=_MOST_POINTS)]
    cell: CellId | None = None


class Undo(_Body):
    """Take the last correction back, or do it again."""

    action: Literal["undo", "redo"]


Edit = Annotated[Delete | Merge | Split | Draw | Undo, Field(discriminator="action")]


class Sliders(_Body):
    """What acts without running the network; what is left out stays."""

    threshold: Annotated[float | None, Field(ge=0.05, le=0.95)] = None
    min_confidence: Annotated[float | None, Field(ge=0, le=1)] = None


class Status(BaseModel):
    """Where an image is and what is known of it."""

    id: str
    name: str
    state: Literal["waiting", "working", "ready", "failed"]
    error: str | None
    seconds: float
    expected_seconds: float
    waiting: int
    height: int | None
    width: int | None
    channels: list[str]
    light: bool
    pixel_size: float | None
    model: str
    asked_diameter: float | None
    diameter: float | None
    used_channels: list[int] | None
    threshold: float
    min_confidence: float
    count: int
    revision: int
    undo: int
    redo: int
    edits: int


class Edited(BaseModel):
    """The labels after a correction: new content of one rectangle."""

    status: Status
    box: Annotated[tuple[int, int, int, int], Field(description="y0, x0, y1, x1; ends exclusive.")]
    labels: Annotated[
        str | None,
        Field(
            description="base64 of little-endian uint32, row by row. None for a large rectangle: "
            "ask for all labels."
        ),
    ]


class Cells(BaseModel):
    """Measurements of the cells that are shown, and the confidence of all."""

    revision: int
    columns: dict[str, list[float | int | str | bool | None]]
    ids: list[int]
    confidence: list[float]


class FormOut(BaseModel):
    """One form in which results can be downloaded."""

    name: str
    about: str
    ending: str


class InSet(BaseModel):
    """One image of the set to learn from."""

    id: str
    name: str
    cells: int


class MarkOut(BaseModel):
    """Accuracy on the images held back, at one moment of the training."""

    epoch: int
    ap50: float


class ComparisonOut(BaseModel):
    """One corrected image before and after."""

    key: str
    name: str
    held_back: bool
    cells: int
    cells_before: int
    cells_after: int
    ap50_before: float
    ap50_after: float


class Learning(BaseModel):
    """The set, and the latest training on it."""

    images: list[InSet]
    impossible: Annotated[str | None, Field(description="Why nothing can be trained here.")]
    state: Literal["none", "training", "comparing", "finished", "failed", "stopped"]
    base: str
    model: str
    minutes: float
    seconds: float
    fraction: float
    loss: float | None
    marks: list[MarkOut]
    log: list[str]
    error: str | None
    comparison: list[ComparisonOut]


class StartTraining(_Body):
    """How long to train, and from which model."""

    minutes: Annotated[float, Field(ge=0.1, le=MOST_MINUTES)] = 10.0
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)] = "general"


class AddToSet(_Body):
    """The image to put into the set, as it is corrected now."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


# --------------------------------------------------------------------------- the workspace


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


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    if hasattr(app.state, "workspace"):
        await app.state.workspace.close()


class _Route(APIRoute):
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


router = APIRouter(
    prefix="/v1/workspace",
    tags=["workspace"],
    lifespan=_lifespan,
    route_class=_Route,
    responses=documented("wrong-input", "not-found", "conflict", "busy", "disk-full"),
)
In = Annotated[Workspace, Depends(workspace_of)]


# --------------------------------------------------------------------------- images


@router.post(
    "/images",
    status_code=202,
    openapi_extra=multipart(FIELD, many=False),
    responses=documented("too-large", "too-many-pixels", "unreadable-image"),
)
async def upload(request: Request, workspace: In, options: Annotated[Options, Query()]) -> Status:
    """Take an image in; it is segmented as soon as a worker is free."""
    request.app.state.check_space()
    settings = request.app.state.settings
    settled = await asyncio.to_thread(_settled, workspace, options, settings.model)
    most = settings.max_upload_bytes
    limits = Limits(files=1, file_bytes=most, total_bytes=most, field=FIELD)
    folder = workspace.pictures.new_folder()
    (got,) = await receive(request, folder, limits=limits)
    picture = await asyncio.to_thread(
        workspace.pictures.add, folder, got.name, pixels=0, settled=settled
    )
    try:
        picture.pixels = await asyncio.to_thread(
            check_extent, got.path, got.name, max_pixels=settings.max_pixels
        )
    except ApiError:
        workspace.pictures.remove(picture.key)
        raise
    workspace.spawn(workspace.segment(picture, settled))
    return _status(workspace, picture)


@router.post("/sample", status_code=202)
async def sample(request: Request, workspace: In, options: Annotated[Options, Query()]) -> Status:
    """Take in the image that comes with cellrim, for a first look."""
    request.app.state.check_space()
    settled = await asyncio.to_thread(
        _settled, workspace, options, request.app.state.settings.model
    )
    folder = workspace.pictures.new_folder()
    pixels = await asyncio.to_thread(_copy_sample, folder)
    picture = await asyncio.to_thread(
        workspace.pictures.add, folder, SAMPLE.name, pixels=pixels, settled=settled
    )
    workspace.spawn(workspace.segment(picture, settled))
    return _status(workspace, picture)


def _copy_sample(folder: Path) -> int:
    folder.mkdir(parents=True)
    copy = folder / UPLOAD
    shutil.copyfile(SAMPLE, copy)
    return read_extent(copy).pixels


@router.get("/images/{key}")
async def image_status(key: Key, workspace: In) -> Status:
    """Tell where an image is."""
    return _status(workspace, workspace.pictures.get(key))


@router.delete("/images/{key}", status_code=204)
def forget(key: Key, workspace: In) -> None:
    """Remove an image and everything about it."""
    workspace.pictures.remove(key)


@router.post("/images/{key}/segment", status_code=202)
async def segment_again(
    key: Key, request: Request, workspace: In, options: Annotated[Options, Query()]
) -> Status:
    """Run the network again, with another model, diameter or channels; the upload is kept."""
    picture = workspace.pictures.get(key)
    if picture.state in ("waiting", "working"):
        raise ApiError("conflict", f"{picture.name} is being segmented already: wait a little.")
    model = request.app.state.settings.model
    settled = await asyncio.to_thread(_settled, workspace, options, model)
    if options.min_confidence is None:
        settled = replace(settled, min_confidence=picture.settled.min_confidence)
    picture.begin("waiting")
    workspace.spawn(workspace.segment(picture, settled))
    return _status(workspace, picture)


@router.patch("/images/{key}")
async def move_sliders(key: Key, sliders: Sliders, workspace: In) -> Status:
    """Hide cells of low confidence, or decode the maps again with another threshold."""
    picture = workspace.pictures.get(key)
    picture.labelled()
    if picture.state != "ready":
        raise ApiError("conflict", f"{picture.name} is being segmented: wait a little.")
    settled = picture.settled
    if sliders.min_confidence is not None:
        settled = replace(settled, min_confidence=sliders.min_confidence)
        with picture.lock:
            picture.settled = settled
    if sliders.threshold is not None and sliders.threshold != settled.threshold:
        segmenter = workspace.models.get(settled.model)
        settled = replace(settled, threshold=sliders.threshold)
        job = partial(picture.decode_again, segmenter, settled)
        await workspace.work.run(job, pixels=picture.pixels)
    return _status(workspace, picture)


@router.get(
    "/images/{key}/view", response_class=Response, responses={200: {"content": {"image/png": {}}}}
)
def view(
    key: Key,
    workspace: In,
    channel: Annotated[int | None, Query(ge=0, le=1000)] = None,
    most: Annotated[int, Query(ge=16, le=8192)] = 8192,
) -> Response:
    """Return the picture for the eye as PNG: all channels in colour, or one in grey."""
    import imagecodecs

    picture = workspace.pictures.get(key)
    if not picture.channels:
        raise ApiError("conflict", picture.error or f"{picture.name} is not read yet.")
    data = imagecodecs.png_encode(picture.view(channel, most), level=2)
    return Response(data, media_type="image/png", headers={"Cache-Control": "private, no-store"})


@router.get(
    "/images/{key}/labels",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def labels(key: Key, workspace: In) -> Response:
    """Return all labels, row by row as little-endian numbers, packed with gzip.

    ``X-Bytes-Per-Label`` says whether they have two bytes or four. Hidden cells are there too.
    """
    picture = workspace.pictures.get(key)
    with picture.lock:
        edited = picture.labelled()
        narrow = int(edited.labels.max(initial=0)) <= np.iinfo(np.uint16).max
        data = edited.labels.astype("<u2" if narrow else "<u4").tobytes()
        revision = edited.revision
    headers = {
        "Content-Encoding": "gzip",
        "Cache-Control": "no-store",
        "X-Bytes-Per-Label": "2" if narrow else "4",
        "X-Revision": str(revision),
    }
    packed = gzip.compress(data, 1)
    return Response(packed, media_type="application/octet-stream", headers=headers)


@router.get("/images/{key}/cells")
def cells(key: Key, workspace: In) -> Cells:
    """Measure the cells that are shown."""
    picture = workspace.pictures.get(key)
    columns = picture.measurements()
    confidence = dict(picture.labelled().confidence)
    return Cells(
        revision=picture.labelled().revision,
        columns={name: _plain(values) for name, values in columns.items()},
        ids=list(confidence),
        confidence=list(confidence.values()),
    )


@router.post("/images/{key}/edits")
def edit(key: Key, asked: Edit, workspace: In) -> Edited:
    """Correct the labels."""
    picture = workspace.pictures.get(key)
    with picture.lock:
        box = picture.edit(partial(_edit, asked, picture))
        part = picture.labelled().labels[box.slices]
        sent = None
        if part.size <= _MOST_SENT_PIXELS:
            sent = base64.b64encode(part.astype("<u4").tobytes()).decode("ascii")
        status = _status(workspace, picture)
    return Edited(status=status, box=(box.y0, box.x0, box.y1, box.x1), labels=sent)


def _edit(
    asked: Delete | Merge | Split | Draw | Undo, picture: Picture, now: EditedLabels
) -> Change | Box:
    if isinstance(asked, Delete):
        return editing.delete(now.labels, asked.cells)
    if isinstance(asked, Merge):
        return editing.merge(now.labels, asked.cells)
    if isinstance(asked, Split):
        cell = asked.cell
        if cell is None:
            cell = editing.cell_below(picture.shown_labels(), asked.line)
        return editing.split(now.labels, asked.line, cell=cell)
    if isinstance(asked, Draw):
        return editing.draw(now.labels, asked.polygon, cell=asked.cell)
    return now.undo() if asked.action == "undo" else now.redo()


@router.get("/forms")
def forms() -> list[FormOut]:
    """List the forms in which results can be downloaded."""
    return [FormOut(name=n, about=f.about, ending=f.ending) for n, f in FORMS.items()]


@router.get("/images/{key}/result", response_class=Response)
def download(
    key: Key,
    workspace: In,
    form: Annotated[str, Query(alias="format", max_length=100, examples=["label-tiff"])],
) -> Response:
    """Return the labels as they are now, in any form."""
    wanted = form_named(form)
    picture = workspace.pictures.get(key)
    with TemporaryDirectory(dir=picture.folder) as folder:
        path = Path(folder) / f"result{wanted.ending}"
        wanted.write(picture.result(), path)
        data = path.read_bytes()
    return Response(data, media_type=wanted.media_type, headers={"Cache-Control": "no-store"})


def _settled(workspace: Workspace, options: Options, default_model: str) -> Settled:
    model = options.model or default_model
    card = workspace.models.get(model).card
    asked = options.asked()
    least = options.min_confidence
    return Settled(
        model,
        asked_diameter=asked.diameter,
        channels=options.numbers(),
        threshold=card.decode.foreground_threshold,
        min_confidence=card.least_confidence if least is None else least,
    )


def _status(workspace: Workspace, picture: Picture) -> Status:
    settled, edited = picture.settled, picture.edited
    shape = picture.image.shape if picture.channels else (None, None)
    return Status(
        id=picture.key,
        name=picture.name,
        state=picture.state,
        error=picture.error,
        seconds=picture.seconds,
        expected_seconds=workspace.rate * max(picture.pixels / 1e6, 0.05),
        waiting=workspace.work.waiting,
        height=shape[0],
        width=shape[1],
        channels=list(picture.channels),
        light=picture.is_light if picture.channels else False,
        pixel_size=picture.pixel_size,
        model=settled.model,
        asked_diameter=settled.asked_diameter,
        diameter=settled.diameter,
        used_channels=None if settled.channels is None else list(settled.channels),
        threshold=settled.threshold,
        min_confidence=settled.min_confidence,
        count=picture.count(),
        revision=edited.revision if edited else 0,
        undo=edited.undoable if edited else 0,
        redo=edited.redoable if edited else 0,
        edits=picture.edits,
    )


def _plain(values: NDArray[Any]) -> list[Any]:
    """Plain numbers; None for NaN and infinity, which JSON does not have."""
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values.tolist()]


# --------------------------------------------------------------------------- learning


@router.get("/learning")
def learning(workspace: In) -> Learning:
    """Tell what is in the set and how the latest training goes."""
    training = workspace.trainer.training
    return Learning(
        images=[InSet(id=c.key, name=c.name, cells=c.cells) for c in workspace.corrected.all()],
        impossible=why_not(),
        state=training.state,
        base=training.base,
        model=training.model,
        minutes=training.minutes,
        seconds=training.seconds,
        fraction=training.fraction,
        loss=training.loss,
        marks=[MarkOut(**asdict(mark)) for mark in training.marks],
        log=list(training.log)[-20:],
        error=training.error,
        comparison=[ComparisonOut(**asdict(row)) for row in training.comparison],
    )


@router.post("/learning/images", status_code=201)
def add_to_set(asked: AddToSet, workspace: In) -> Learning:
    """Put an image into the set as it is corrected now."""
    picture = workspace.pictures.get(asked.id)
    result = picture.result()
    workspace.corrected.add(picture.key, picture.name, upload=picture.upload, result=result)
    return learning(workspace)


@router.delete("/learning/images/{key}")
def take_from_set(key: Key, workspace: In) -> Learning:
    """Take an image out of the set."""
    workspace.corrected.remove(key)
    return learning(workspace)


@router.post("/learning/training", status_code=202)
async def start_training(asked: StartTraining, workspace: In) -> Learning:
    """Train a model on the set; the new model is offered when it is done."""
    base = await asyncio.to_thread(workspace.model_folder, asked.model)
    await asyncio.to_thread(
        workspace.trainer.start, workspace.corrected, base, minutes=asked.minutes
    )
    workspace.spawn(workspace.train())
    return learning(workspace)


@router.delete("/learning/training")
async def stop_training(workspace: In) -> Learning:
    """Stop the training; its model is lost."""
    await asyncio.to_thread(workspace.trainer.stop)
    return learning(workspace)
