"""Images of the page: in, segmented, looked at, measured, out."""

from __future__ import annotations

import asyncio
import gzip
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel, Field

import cellrim
from cellrim.errors import CellrimError
from cellrim.server.answers import PassingFile
from cellrim.server.forms import FORMS, Form, form_named
from cellrim.server.options import Cost, Options, check_cost
from cellrim.server.problems import ApiError, documented
from cellrim.server.segment import FIELD, multipart
from cellrim.server.uploads import Limits, receive
from cellrim.server.workspace.desk import In, Route, Workspace
from cellrim.server.workspace.picture import UPLOAD, Picture, Settled
from cellrim.server.workspace.status import Body, Key, Status, status_of

SAMPLE = Path(cellrim.__file__).parent / "samples" / "nuclei.tif"

router = APIRouter(route_class=Route)


class Sliders(Body):
    """What acts without running the network; what is left out stays."""

    threshold: Annotated[float | None, Field(ge=0.05, le=0.95, examples=[0.5])] = None
    min_confidence: Annotated[float | None, Field(ge=0, le=1, examples=[0.3])] = None


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


@router.post(
    "/images",
    status_code=202,
    summary="Take an image in",
    openapi_extra=multipart(FIELD, many=False),
    responses=documented("too-large", "too-many-pixels", "unreadable-image"),
)
async def upload(request: Request, workspace: In, options: Annotated[Options, Query()]) -> Status:
    """Take an image in; it is segmented as soon as a worker is free."""
    request.app.state.check_space()
    most = workspace.settings.max_upload_bytes
    limits = Limits(files=1, file_bytes=most, total_bytes=most, field=FIELD)
    (got,) = await receive(
        request, workspace.pictures.new_folder(), limits=limits, space=workspace.space
    )
    return await _take_in(workspace, got.path.parent, got.name, options)


@router.post("/sample", status_code=202, summary="Take the sample image in")
async def sample(request: Request, workspace: In, options: Annotated[Options, Query()]) -> Status:
    """Take in the image that comes with cellrim, for a first look."""
    request.app.state.check_space()
    folder = workspace.pictures.new_folder()
    await asyncio.to_thread(_copy_sample, folder)
    return await _take_in(workspace, folder, SAMPLE.name, options)


def _copy_sample(folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copyfile(SAMPLE, folder / UPLOAD)


async def _take_in(workspace: Workspace, folder: Path, name: str, options: Options) -> Status:
    try:
        cost = await asyncio.to_thread(_check, workspace, folder / UPLOAD, name, options)
        settled = await asyncio.to_thread(_settled, workspace, options)
        picture = await asyncio.to_thread(workspace.take_in, folder, name, cost, settled)
    except (ApiError, CellrimError):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    workspace.start_segmenting(picture, settled)
    return status_of(workspace, picture)


def _check(workspace: Workspace, path: Path, name: str, options: Options) -> Cost:
    settings = workspace.settings
    return check_cost(
        path,
        name,
        options,
        models=workspace.models,
        model=settings.model,
        max_pixels=settings.max_pixels,
    )


@router.get("/images/{key}", summary="See where an image is")
async def image_status(key: Key, workspace: In) -> Status:
    """Tell where an image is."""
    return status_of(workspace, workspace.pictures.get(key))


@router.delete("/images/{key}", status_code=204, summary="Remove an image")
def forget(key: Key, workspace: In) -> None:
    """Remove an image and everything about it."""
    workspace.pictures.remove(key)


@router.post(
    "/images/{key}/segment",
    status_code=202,
    summary="Segment it again",
    responses=documented("too-many-pixels"),
)
async def segment_again(key: Key, workspace: In, options: Annotated[Options, Query()]) -> Status:
    """Run the network again, with another model, diameter or channels; the upload is kept."""
    picture = workspace.pictures.get(key)
    if picture.is_busy:
        raise ApiError("conflict", f"{picture.name} is being segmented already: wait a little.")
    cost = await asyncio.to_thread(_check, workspace, picture.upload, picture.name, options)
    settled = await asyncio.to_thread(_settled, workspace, options)
    if options.min_confidence is None:
        before = picture.settled
        settled = replace(
            settled,
            min_confidence=before.min_confidence,
            asked_confidence=before.asked_confidence,
        )
    picture.cost = cost
    workspace.start_segmenting(picture, settled)
    return status_of(workspace, picture)


@router.patch("/images/{key}", summary="Move the sliders")
async def move_sliders(key: Key, sliders: Sliders, workspace: In) -> Status:
    """Hide cells of low confidence, or decode the maps again with another threshold."""
    picture = workspace.pictures.get(key)
    picture.labelled()
    if picture.state != "ready":
        raise ApiError("conflict", f"{picture.name} is being segmented: wait a little.")
    settled = picture.settled
    if sliders.min_confidence is not None:
        settled = replace(settled, min_confidence=sliders.min_confidence, asked_confidence=True)
        with picture.lock:
            picture.settled = settled
    if sliders.threshold is not None and sliders.threshold != settled.threshold:
        settled = replace(settled, threshold=sliders.threshold)
        await workspace.decode_again(picture, settled)
    return status_of(workspace, picture)


@router.get(
    "/images/{key}/view",
    summary="Get the picture",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
async def view(
    key: Key,
    workspace: In,
    channel: Annotated[int | None, Query(ge=0, le=1000)] = None,
    most: Annotated[int, Query(ge=16, le=8192)] = 8192,
) -> Response:
    """Return the picture for the eye as PNG: all channels in colour, or one in grey."""
    picture = workspace.pictures.get(key)
    if not picture.channels:
        raise ApiError("conflict", picture.error or f"{picture.name} is not read yet.")
    write = partial(_write_view, picture, channel, most)
    path = await workspace.write(picture, write, ending=".png")
    return PassingFile(path, media_type="image/png")


def _write_view(picture: Picture, channel: int | None, most: int, path: Path) -> None:
    import imagecodecs

    path.write_bytes(imagecodecs.png_encode(picture.view(channel, most), level=2))


@router.get(
    "/images/{key}/labels",
    summary="Get the labels",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def labels(key: Key, workspace: In) -> Response:
    """Return all labels, row by row as little-endian numbers, packed with gzip.

    ``X-Bytes-Per-Label`` says whether they have two bytes or four. Hidden cells are there too.
    """
    picture = workspace.pictures.get(key)
    picture.labelled()
    headers = {"Content-Encoding": "gzip"}
    write = partial(_write_labels, picture, headers)
    path = await workspace.write(picture, write, ending=".gz")
    return PassingFile(path, media_type="application/octet-stream", headers=headers)


def _write_labels(picture: Picture, headers: dict[str, str], path: Path) -> None:
    with picture.lock:
        edited = picture.labelled()
        narrow = int(edited.labels.max(initial=0)) <= np.iinfo(np.uint16).max
        values = edited.labels.astype("<u2" if narrow else "<u4")
        headers["X-Revision"] = str(edited.revision)
    headers["X-Bytes-Per-Label"] = "2" if narrow else "4"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(values.data.cast("B"))


@router.get("/images/{key}/cells", summary="Measure the cells")
async def cells(key: Key, workspace: In) -> Cells:
    """Measure the cells that are shown."""
    picture = workspace.pictures.get(key)
    columns = await workspace.look(picture, picture.measurements)
    confidence = dict(picture.labelled().confidence)
    return Cells(
        revision=picture.labelled().revision,
        columns={name: _plain(values) for name, values in columns.items()},
        ids=list(confidence),
        confidence=list(confidence.values()),
    )


@router.get("/forms", summary="List the forms of results")
def forms() -> list[FormOut]:
    """List the forms in which results can be downloaded."""
    return [FormOut(name=n, about=f.about, ending=f.ending) for n, f in FORMS.items()]


@router.get("/images/{key}/result", summary="Download a result", response_class=Response)
async def download(
    key: Key,
    workspace: In,
    form: Annotated[str, Query(alias="format", max_length=100, examples=["label-tiff"])],
) -> Response:
    """Return the labels as they are now, in any form."""
    wanted = form_named(form)
    picture = workspace.pictures.get(key)
    write = partial(_write_result, picture, wanted)
    path = await workspace.write(picture, write, ending=wanted.ending)
    return PassingFile(path, media_type=wanted.media_type)


def _write_result(picture: Picture, form: Form, path: Path) -> None:
    form.write(picture.result(), path, picture.name)


def _settled(workspace: Workspace, options: Options) -> Settled:
    model = options.model or workspace.settings.model
    card = workspace.models.get(model).card
    asked = options.asked()
    least = options.min_confidence
    return Settled(
        model,
        asked_diameter=asked.diameter,
        channels=options.numbers(),
        threshold=card.decode.foreground_threshold,
        min_confidence=card.least_confidence if least is None else least,
        asked_confidence=least is not None,
    )


def _plain(values: NDArray[Any]) -> list[Any]:
    """Plain numbers; None for NaN and infinity, which JSON does not have."""
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values.tolist()]
