"""COCO JSON with compressed run lengths: CVAT, Label Studio, detectron2, pycocotools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels, areas, relabel
from cellrim.core.parts import CellPart
from cellrim.errors import CellrimError, ImageReadError
from cellrim.io.atomic import atomic_path
from cellrim.io.coco import fill_polygon
from cellrim.io.exports.base import CellList, CellSet, Format, ShapeOf, read_json
from cellrim.io.exports.ordered import in_order
from cellrim.io.polygons import paint_runs
from cellrim.io.rle import coco_counts, coco_texts

# The id in the label image, since ids of annotations count through the whole file.
_CELL = "cell"


def _write(path: Path, cells: CellSet) -> None:
    _write_many(path, [cells])


def _write_many(path: Path, sets: Iterable[CellSet]) -> None:
    _write_lists(path, (cells.listed() for cells in sets))


def _write_list(path: Path, cells: CellList) -> None:
    _write_lists(path, [cells])


def _write_lists(path: Path, lists: Iterable[CellList]) -> None:
    """Write annotation by annotation; the images come last, when all of them are known."""
    head = {
        "info": {"description": "Written by cellrim."},
        "licenses": [],
        "categories": [{"id": 1, "name": "cell"}],
    }
    images: list[dict[str, Any]] = []
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        file.write(json.dumps(head)[:-1].encode() + b', "annotations": [')
        number = 0
        for cells in lists:
            height, width = cells.shape
            image = {"id": len(images) + 1, "file_name": cells.name}
            images.append(image | {"height": height, "width": width})
            encode = partial(_annotations, shape=cells.shape)
            for _, annotation in in_order(cells, encode, folder=path.parent):
                ids = f'{{"id": {number + 1}, "image_id": {len(images)}, '
                file.write((b", " if number else b"") + ids.encode() + annotation)
                number += 1
        file.write(b'], "images": ' + json.dumps(images).encode() + b"}")


def _annotations(part: CellPart, *, shape: tuple[int, int]) -> list[str]:
    """Annotations of the cells of a part, but for the ids in front: JSON without the brace."""
    from scipy import ndimage  # takes a third of a second to import

    compact = relabel(part.labels)
    y0, x0 = part.origin
    rows = zip(
        part.ids.tolist(),
        coco_texts(part, shape),
        areas(compact).tolist(),
        ndimage.find_objects(compact),
        strict=True,
    )
    texts = []
    for cell, counts, area, (y, x) in rows:
        annotation = {
            "category_id": 1,
            "segmentation": {"size": list(shape), "counts": counts},
            "area": area,
            "bbox": [x.start + x0, y.start + y0, x.stop - x.start, y.stop - y.start],
            "iscrowd": 0,
            _CELL: cell,
        }
        texts.append(json.dumps(annotation)[1:])
    return texts


def _read(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    content = read_json(path)
    try:
        grouped: dict[Any, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd"):
                grouped.setdefault(annotation["image_id"], []).append(annotation)
        images = [
            (str(i["file_name"]), (int(i["height"]), int(i["width"])), grouped.get(i["id"], []))
            for i in content["images"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImageReadError(
            f"Cannot use {path}: expected COCO JSON with images and annotations, but it lacks "
            f"{error}."
        ) from error
    for name, shape, found in images:
        try:
            yield CellSet(_stem(name), _paint(found, shape))
        except (CellrimError, KeyError, TypeError, ValueError) as error:
            raise ImageReadError(f"Cannot use {path}, image {name}: {error}") from error


def _stem(name: str) -> str:
    known = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".dib")
    return name[: name.rindex(".")] if name.lower().endswith(known) else name


def _paint(annotations: list[dict[str, Any]], shape: tuple[int, int]) -> Labels:
    """Paint annotations, run by run along the columns; where they overlap, the later one wins."""
    starts, lengths, ids = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    cells = [a.get(_CELL) for a in annotations]
    spelled = all(isinstance(c, int) and c > 0 for c in cells) and len(set(cells)) == len(cells)
    for number, annotation in enumerate(annotations, start=1):
        for start, length in _runs(annotation["segmentation"], shape):
            starts.append(start)
            lengths.append(length)
            ids.append(np.full(len(start), annotation[_CELL] if spelled else number))
    flat = [np.concatenate(parts) for parts in (starts, lengths, ids)]
    turned = paint_runs(flat[0], flat[1], flat[2], (shape[1], shape[0]))
    return np.ascontiguousarray(turned.T)


def _runs(
    segmentation: Any, shape: tuple[int, int]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give starts and lengths along the columns of a segmentation, polygon by polygon."""
    if isinstance(segmentation, Mapping):
        if list(segmentation["size"]) != list(shape):
            raise ValueError(f"run lengths of size {segmentation['size']}, not {list(shape)}")
        counts = coco_counts(segmentation["counts"], shape)
        starts = np.cumsum(counts) - counts
        yield starts[1::2], counts[1::2]
        return
    for polygon in segmentation:
        yield _polygon_runs(polygon, shape)


def _polygon_runs(
    polygon: list[float], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fill a polygon within its bounding box only: whole steps do not change the rule."""
    corners = np.asarray(polygon, np.float64).reshape(-1, 2)
    size = np.array([shape[1], shape[0]])
    low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, size).astype(np.int64)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, low, size).astype(np.int64)
    width, height = (high - low).tolist()
    if not width or not height:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    mask = fill_polygon((corners - low).ravel().tolist(), (height, width))
    x, y = np.nonzero(mask.T)
    return (x + low[0]) * shape[0] + y + low[1], np.ones(len(x), np.int64)


FORMAT = Format(
    kind="coco",
    ending="_coco.json",
    title="COCO JSON with run lengths; CVAT, pycocotools, detectron2",
    write=_write,
    write_list=_write_list,
    read=_read,
    write_many=_write_many,
)
