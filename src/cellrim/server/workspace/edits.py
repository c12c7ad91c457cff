"""Corrections of the labels: delete, merge, split, draw, undo."""

from __future__ import annotations

import base64
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cellrim.server.workspace import editing
from cellrim.server.workspace.desk import In, Route, Workspace
from cellrim.server.workspace.edited import EditedLabels
from cellrim.server.workspace.editing import Box, Change
from cellrim.server.workspace.picture import Picture
from cellrim.server.workspace.status import Body, Key, Status, status_of

router = APIRouter(route_class=Route)

# Pixels of an edit that are sent at once; after a larger one the page asks for all labels again.
_MOST_SENT_PIXELS = 1_000_000
_MOST_POINTS = 20_000
_MOST_CELLS = 100_000

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
PointIn = tuple[Coordinate, Coordinate]
CellId = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Delete(Body):
    """Take cells away."""

    action: Literal["delete"]
    cells: Annotated[list[CellId], Field(min_length=1, max_length=_MOST_CELLS, examples=[[3]])]


class Merge(Body):
    """Make one cell of several that touch."""

    action: Literal["merge"]
    cells: Annotated[list[CellId], Field(min_length=2, max_length=_MOST_CELLS, examples=[[3, 4]])]


class Split(Body):
    """Cut a cell along a line of x, y points; the one below the line where none is named."""

    action: Literal["split"]
    line: Annotated[
        list[PointIn],
        Field(min_length=2, max_length=_MOST_POINTS, examples=[[[10.5, 2], [10.5, 40]]]),
    ]
    cell: CellId | None = None


class Draw(Body):
    """Draw a new cell as a polygon of x, y points, or the named one anew."""

    action: Literal["draw"]
    polygon: Annotated[
        list[PointIn],
        Field(min_length=3, max_length=_MOST_POINTS, examples=[[[5, 5], [25, 5], [15, 20]]]),
    ]
    cell: CellId | None = None


class Undo(Body):
    """Take the last correction back, or do it again."""

    action: Annotated[Literal["undo", "redo"], Field(examples=["undo"])]


Edit = Annotated[Delete | Merge | Split | Draw | Undo, Field(discriminator="action")]


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


@router.post("/images/{key}/edits", summary="Correct the labels")
async def edit(key: Key, asked: Edit, workspace: In) -> Edited:
    """Correct the labels."""
    picture = workspace.pictures.get(key)
    return await workspace.look(picture, partial(_edited, asked, picture, workspace))


def _edited(
    asked: Delete | Merge | Split | Draw | Undo, picture: Picture, workspace: Workspace
) -> Edited:
    with picture.lock:
        box = picture.edit(partial(_edit, asked, picture))
        part = picture.labelled().labels[box.slices]
        sent = None
        if part.size <= _MOST_SENT_PIXELS:
            sent = base64.b64encode(part.astype("<u4").tobytes()).decode("ascii")
        status = status_of(workspace, picture)
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
