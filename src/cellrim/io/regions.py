"""Opens images to be read part by part: tiled (OME-)TIFF and OME-Zarr, larger than memory."""

from __future__ import annotations

from pathlib import Path

from cellrim.errors import ImageReadError
from cellrim.io.images import is_tiff, is_zarr, open_stack, read_image
from cellrim.io.region_readers import ArrayRegions, RegionImage, TiffRegions, ZarrRegions


def open_regions(path: Path) -> RegionImage:
    """Open an image to be read part by part.

    Parameters
    ----------
    path
        A TIFF file or an OME-Zarr folder. Other images, and TIFF files that are compressed in one
        piece, are read whole.

    Raises
    ------
    ImageReadError
        If it is missing, broken, or not one plane.
    MissingExtraError
        If it is OME-Zarr and zarr is not installed.
    """
    if path.is_dir():
        return ZarrRegions(path)
    regions = TiffRegions.open(path) if _first_bytes_are_tiff(path) else None
    return regions or ArrayRegions(path, read_image(path))


def image_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a TIFF file or OME-Zarr image of one plane by its metadata alone.

    None where it is neither, or the metadata cannot be read.
    """
    try:
        if not is_zarr(path) and not _first_bytes_are_tiff(path):
            return None
        with open_stack(path) as stack:
            return stack.shape if len(stack) == 1 else None
    except Exception:  # whoever reads the image says what is wrong with it
        return None


def _first_bytes_are_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_tiff(file.read(4))
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
