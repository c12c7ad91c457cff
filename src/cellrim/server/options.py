"""What clients may ask for, in the query of a request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cellrim.core.image import Image
from cellrim.errors import ImageReadError
from cellrim.io.extent import Extent, read_extent
from cellrim.io.images import read_image
from cellrim.prediction.request import Request as Asked
from cellrim.prediction.result import Result
from cellrim.prediction.scale import LARGEST_SCALE
from cellrim.prediction.segmenter import MOST_ENLARGED_PIXELS
from cellrim.server.forms import DEFAULT_FORM, DEFAULT_FORMS, FORMS
from cellrim.server.models import Models
from cellrim.server.problems import ApiError
from cellrim.server.work import check_stop, stoppable

_FORM_LIST = "; ".join(f"`{name}`: {form.about}" for name, form in FORMS.items())
_ONE_OF_FORMS = "|".join(FORMS)

MODEL_NAME = r"^[a-z0-9][a-z0-9_.-]*$"
"""Names of models, which are never paths."""


class Options(BaseModel):
    """How images are segmented."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[
        str | None,
        Field(
            pattern=MODEL_NAME,
            max_length=100,
            description="A model of GET /v1/models; the server's own choice where left out.",
            examples=["general"],
        ),
    ] = None
    diameter: Annotated[
        float | None,
        Field(
            gt=0,
            le=10_000,
            allow_inf_nan=False,
            description="Typical cell diameter in pixels; estimated where left out.",
            examples=[30],
        ),
    ] = None
    channels: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{1,3}(,[0-9]{1,3}){0,2}$",
            description="Channels that show the cells, counted from 0; all where left out.",
            examples=["0,2"],
        ),
    ] = None
    min_confidence: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Leave out cells of a lower confidence; the model's own where left out.",
            examples=[0.5],
        ),
    ] = None

    def numbers(self) -> tuple[int, ...] | None:
        """Return the numbers of the channels that are asked for; None for all."""
        if self.channels is None:
            return None
        return tuple(int(part) for part in self.channels.split(","))

    def asked(self) -> Asked:
        """Return the same as the command line's request."""
        return Asked(
            diameter=self.diameter, channels=self.numbers(), min_confidence=self.min_confidence
        )


class OneImage(Options):
    """How one image is segmented and in which form the result is given back."""

    format: Annotated[
        str | None,
        Field(
            pattern=f"^({_ONE_OF_FORMS})$",
            description=f"Form of the answer. {_FORM_LIST}. Where left out, `Accept` chooses; "
            f"then `{DEFAULT_FORM}`.",
            examples=["overlay"],
        ),
    ] = None


class ManyImages(Options):
    """How the images of a job are segmented and which results are kept."""

    formats: Annotated[
        str,
        Field(
            pattern=f"^({_ONE_OF_FORMS})(,({_ONE_OF_FORMS})){{0,{len(FORMS) - 1}}}$",
            description=f"Results for each image, with commas. {_FORM_LIST}.",
            examples=["label-tiff,cells-csv"],
        ),
    ] = ",".join(DEFAULT_FORMS)

    def forms(self) -> tuple[str, ...]:
        """Keys of :data:`~cellrim.server.forms.FORMS`, each once."""
        return tuple(dict.fromkeys(self.formats.split(",")))


def check_extent(path: Path, name: str, *, max_pixels: int) -> Extent:
    """Return how large an image is, by its header.

    Parameters
    ----------
    path, name
        The file, and what the client calls it.
    max_pixels
        Most pixels.

    Raises
    ------
    ApiError
        ``unreadable-image``, ``too-many-pixels``.
    """
    try:
        extent = read_extent(path)
    except ImageReadError as error:
        raise ApiError("unreadable-image", without_path(error, path, name)) from error
    if extent.pixels > max_pixels:
        most = math.isqrt(max_pixels)
        raise ApiError(
            "too-many-pixels",
            f"Expected images of at most {max_pixels} pixels ({most} x {most}), but {name} has "
            f"{extent.height} x {extent.width} and {extent.values} values: cut it, or use "
            "cellrim segment on a machine of your own.",
        )
    return extent


@dataclass(frozen=True, slots=True)
class Cost:
    """What segmenting an image takes.

    Parameters
    ----------
    pixels
        Of the image, by its header.
    network
        Most pixels that the network may see of it, which is what memory follows.
    values
        Numbers of the image, all channels.
    """

    pixels: int
    network: int
    values: int

    @classmethod
    def of(cls, extent: Extent, diameter: float | None, *, wanted: float) -> Cost:
        """Return the cost of an image.

        Parameters
        ----------
        extent
            Of the image.
        diameter
            Of its cells, where given: small cells have the image enlarged. What is estimated never
            enlarges beyond a fixed number of pixels.
        wanted
            Diameter the model wants cells to have.

        Examples
        --------
        >>> grey = Extent(height=10, width=100, values=1000)
        >>> Cost.of(grey, 12.0, wanted=24.0)
        Cost(pixels=1000, network=4000, values=1000)
        >>> Cost.of(grey, 48.0, wanted=24.0)
        Cost(pixels=1000, network=1000, values=1000)
        """
        pixels = extent.pixels
        if diameter is None:
            most = min(MOST_ENLARGED_PIXELS, int(pixels * LARGEST_SCALE**2))
            return cls(pixels, max(pixels, most), extent.values)
        scale = min(LARGEST_SCALE, max(1.0, wanted / diameter))
        return cls(pixels, math.ceil(pixels * scale * scale), extent.values)

    @property
    def megapixels(self) -> float:
        """Size for estimates of time, in a million pixels; tiny images count as a twentieth."""
        return max(self.pixels / 1e6, 0.05)


def check_cost(
    path: Path, name: str, options: Options, *, models: Models, model: str, max_pixels: int
) -> Cost:
    """Check that an image may be segmented as asked; nothing is decoded.

    Parameters
    ----------
    path, name
        The file, and what the client calls it.
    options, models, model
        As for :func:`segment_file`.
    max_pixels
        Most pixels, of the image and of what the network sees.

    Returns
    -------
    Cost
        Its ``network`` is what counts for :meth:`~cellrim.server.work.Work.run`.

    Raises
    ------
    ApiError
        ``unreadable-image``, ``too-many-pixels``.
    ModelError
        If there is no such model.
    """
    extent = check_extent(path, name, max_pixels=max_pixels)
    card = models.get(options.model or model).card
    cost = Cost.of(extent, options.diameter, wanted=card.network_diameter)
    if options.diameter is not None and cost.network > max_pixels:
        raise ApiError(
            "too-many-pixels",
            f"For cells of {options.diameter:g} pixels {name} has to be enlarged to "
            f"{cost.network} pixels, and at most {max_pixels} are allowed: give a larger "
            "diameter, or cut the image.",
        )
    return cost


def read_upload(path: Path, name: str) -> Image:
    """Read an image file.

    Parameters
    ----------
    path, name
        The file, and what the client calls it.

    Raises
    ------
    ApiError
        ``unreadable-image``.
    """
    try:
        return read_image(path)
    except ImageReadError as error:
        raise ApiError("unreadable-image", without_path(error, path, name)) from error


def segment_file(path: Path, name: str, options: Options, *, models: Models, model: str) -> Result:
    """Read and segment an image file; runs in a worker thread.

    Parameters
    ----------
    path, name
        The file, and what the client calls it.
    options
        How.
    models
        Where the model comes from.
    model
        Which one where the options name none.

    Raises
    ------
    ApiError
        ``unreadable-image``, ``took-too-long``.
    CellrimError
        If model, channels or diameter do not fit.
    """
    asked = options.asked()
    segmenter = stoppable(models.get(options.model or model))
    image = read_upload(path, name)
    check_stop()
    return segmenter.segment(
        image,
        channels=options.numbers(),
        diameter=asked.diameter,
        options=segmenter.card.decode_options(options.min_confidence),
    )


def without_path(error: Exception, path: Path, name: str) -> str:
    """Say what an error says with the client's name in place of the server's path."""
    return str(error).replace(str(path), name)
