"""OME-Zarr images, versions 0.1 to 0.5: the finest level of the pyramid, a plane at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellrim.core.stack import Calibration
from cellrim.errors import ImageReadError, MissingExtraError
from cellrim.io.sources import (
    ONE_SCENE,
    Scene,
    Source,
    are_axes,
    asked_axes,
    micrometres,
    pick_scene,
    plane_of,
    positive,
    seconds,
    square_pixel,
)

MARKERS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
"""Files by which a folder is known to be zarr."""

# Versions before 0.4 name no axes: these are all there may be, in this order.
_OLD_AXES = "TCZYX"


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that holds a zarr group or array."""
    return path.is_dir() and any((path / name).is_file() for name in MARKERS)


def zarr_scenes(path: Path) -> tuple[str, ...]:
    """Names of the images in an OME-Zarr folder: several where bioformats2raw wrote it.

    Raises
    ------
    MissingExtraError
        If zarr is not installed.
    """
    zarr = require_zarr()
    node = zarr.open(path, mode="r")
    return ONE_SCENE if isinstance(node, zarr.Array) else _scenes(node) or ONE_SCENE


def zarr_source(
    path: Path, *, axes: str | None = None, scene: Scene | None = None, calibrated: bool = True
) -> Source:
    """Open an OME-Zarr image.

    Parameters
    ----------
    path
        The folder of the image: the group with the ``multiscales`` metadata.
    axes
        Axes in the place of those that the metadata name.
    scene
        Which image, as for :func:`~cellrim.io.sources.pick_scene`.
    calibrated
        Whether to read pixel size and steps.

    Raises
    ------
    MissingExtraError
        If zarr is not installed.
    ImageReadError
        If the folder is no OME-Zarr image, or its metadata contradict the array.
    """
    zarr = require_zarr()
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        raise ImageReadError(
            f"Cannot read {path}: expected an OME-Zarr image, a group with multiscales metadata, "
            "but it is a plain array. Name the folder of the image that it belongs to."
        )
    metadata = _metadata(node.attrs.asdict())
    multiscales = metadata.get("multiscales")
    if not multiscales:
        scenes = _scenes(node)
        if scenes:
            one = path / scenes[pick_scene(path, scenes, scene)]
            return zarr_source(one, axes=axes, calibrated=calibrated)
        raise ImageReadError(_no_image(path, metadata, sorted(name for name, _ in node.groups())))
    pick_scene(path, ONE_SCENE, scene)
    image = multiscales[0]
    levels = image.get("datasets") or [{}]
    array = node.get(levels[0].get("path", ""))
    if not isinstance(array, zarr.Array):
        raise ImageReadError(
            f"Cannot read {path}: its multiscales metadata name the array "
            f"{levels[0].get('path')!r}, but it is not there."
        )
    shape = tuple(int(n) for n in array.shape)
    own = _axes(path, image, shape)
    names = own
    if axes is not None:
        own, _ = asked_axes(path, axes, own, shape)
    return Source(
        own,
        shape,
        read=lambda index: plane_of(array, own, index),
        channels=_channels(metadata, own, shape),
        calibration=_calibration(path, image, names) if calibrated else Calibration(),
    )


def _metadata(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Attributes that OME defines: at the top until 0.4, below ``ome`` from 0.5 on."""
    inner: Mapping[str, Any] = attributes.get("ome", attributes)
    return inner


def _scenes(node: Any) -> tuple[str, ...]:
    """Names of the images below a group that bioformats2raw wrote; none of any other."""
    metadata = _metadata(node.attrs.asdict())
    if metadata.get("bioformats2raw.layout") is None or metadata.get("multiscales"):
        return ()
    return tuple(sorted((n for n, _ in node.groups() if n.isdecimal()), key=int))


def _no_image(path: Path, metadata: Mapping[str, Any], children: Sequence[str]) -> str:
    if "plate" in metadata or "well" in metadata:
        kind = "plate" if "plate" in metadata else "well"
        below = "row/column/field" if kind == "plate" else "field"
        return (
            f"Cannot read {path}: expected one image, but it is a {kind}. Name an image in it: "
            f"{path}/{below}."
        )
    found = f"it holds {', '.join(children[:5])}" if children else "it holds no group either"
    return (
        f"Cannot read {path}: expected an OME-Zarr image, a group with multiscales metadata, but "
        f"it has none, and {found}. Name the folder of the image."
    )


def _axes(path: Path, image: Mapping[str, Any], shape: tuple[int, ...]) -> str:
    listed = image.get("axes")
    if listed is None:
        axes = _OLD_AXES if len(shape) == len(_OLD_AXES) else ""
    else:
        axes = "".join(str(a["name"] if isinstance(a, Mapping) else a)[:1].upper() for a in listed)
    if len(axes) != len(shape) or not are_axes(axes):
        raise ImageReadError(
            f"Cannot read {path}: its metadata contradict its array: expected axes out of "
            f"TCZYX for the shape {shape}, but they name {axes or 'none'}. Say them with --axes."
        )
    return axes


def _channels(
    metadata: Mapping[str, Any], axes: str, shape: tuple[int, ...]
) -> tuple[str, ...] | None:
    listed = (metadata.get("omero") or {}).get("channels") or []
    names = tuple(str(c.get("label") or "") for c in listed)
    count = shape[axes.index("C")] if "C" in axes else 1
    named = len(names) == count and len(set(names)) == count and all(names)
    return names if named else None


def _calibration(path: Path, image: Mapping[str, Any], axes: str) -> Calibration:
    if len(image.get("axes") or ()) != len(axes):
        return Calibration()
    levels: Sequence[Mapping[str, Any]] = image["datasets"]
    scale = [1.0] * len(axes)
    for holder in (levels[0], image):
        for change in holder.get("coordinateTransformations") or ():
            if change.get("type") == "scale" and len(change.get("scale", ())) == len(axes):
                scale = [a * float(b) for a, b in zip(scale, change["scale"], strict=True)]
    units = [a.get("unit") if isinstance(a, Mapping) else None for a in image["axes"]]
    step = dict(zip(axes, zip(scale, units, strict=True), strict=True))
    y, x, z = (micrometres(*step[a]) if a in step else None for a in "YXZ")
    time = seconds(*step["T"]) if "T" in step else None
    return Calibration(square_pixel(path, y, x), positive(z), positive(time))


def require_zarr() -> Any:
    """Import zarr.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise MissingExtraError("OME-Zarr", "big") from None
    return zarr
