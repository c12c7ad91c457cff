"""Nuclei, cells, or both with one id for a nucleus and its cell.

The rule: a nucleus belongs to the cell that holds at least half of its pixels, and carries that
cell's id. All nuclei of a cell carry its id, and the table says how many there are. A cell without
a nucleus stays. A nucleus that no cell holds stays too, with an id above those of the cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.errors import InputError
from cellrim.io.labels import write_labels
from cellrim.prediction.nucleus_channel import find_nucleus_channel, showing_channels
from cellrim.prediction.result import Result
from cellrim.prediction.segmenter import Segmenter, as_image
from cellrim.representation.flow import DecodeOptions

if TYPE_CHECKING:
    from cellrim.measure.cells import CellTable

Target = Literal["nuclei", "cells", "both"]
"""What to segment."""

TARGETS: tuple[Target, ...] = get_args(Target)


@dataclass(frozen=True, kw_only=True)
class PairedResult(Result):
    """The cells of one image and their nuclei; what :class:`Result` has is of the cells.

    Parameters
    ----------
    nuclei
        int32, axes ``YX``: the nuclei, each with the id of its cell; ids above the number of cells
        are nuclei that no cell holds. A nucleus may reach over the outline of its cell.
    nucleus_counts
        int64, one value per cell: how many nuclei carry its id.
    """

    nuclei: Labels = field(repr=False)
    nucleus_counts: NDArray[np.int64] = field(repr=False)

    @cached_property
    def cells(self) -> CellTable:
        """One row per cell, with how many nuclei it has and the comparison of its compartments."""
        from cellrim.measure.cells import CellTable, measure_cells

        held = np.where(self.nuclei <= self.count, self.nuclei, 0)
        table = measure_cells(self.labels, self.image, confidence=self.confidence, nuclei=held)
        return CellTable(table.columns | {"nuclei": self.nucleus_counts})

    def save(self, kind: str, path: str | Path, *, name: str | None = None) -> None:
        """Write the cells in any format, as :meth:`Result.save` does, or ``nuclei`` as labels."""
        own = {"nuclei": self.save_nuclei, "overlay": self.save_overlay}
        if kind in own:
            own[kind](path)
        else:
            super().save(kind, path, name=name)

    def save_nuclei(self, path: str | Path) -> None:
        """Write the label image of the nuclei as TIFF.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        write_labels(Path(path), self.nuclei)

    def save_overlay(self, path: str | Path) -> None:
        """Write the image with the outlines of cells and nuclei as PNG.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from cellrim.io.overlay import draw_overlay, write_png

        write_png(Path(path), draw_overlay(self.image, self.labels, nuclei=self.nuclei))


def segment_target(
    segmenter: Segmenter,
    image: Image | ArrayLike,
    *,
    target: Target | None = None,
    nucleus: int | None = None,
    axes: str | None = None,
    channels: tuple[int, ...] | None = None,
    diameter: float | None = None,
    options: DecodeOptions | None = None,
) -> Result:
    """Find the nuclei, the cells or both of an image.

    Parameters
    ----------
    segmenter
        The model.
    image, axes, options
        As for :meth:`~cellrim.prediction.segmenter.Segmenter.segment`.
    target
        ``nuclei``: from the nuclear channel alone. ``cells``: from all channels. ``both``: see
        :func:`segment_both`. None: what the channels show, in which the network decides: with one
        channel of DNA the nuclei, where cytoplasm or membrane shows the cells.
    nucleus
        The channel that shows the nuclei, counted from 0; found from the image where None. It need
        not be among ``channels``.
    channels
        Channels that show the cells, at most three; all where None.
    diameter
        Typical diameter of what is asked for (of the cells, for both), in pixels; estimated where
        None.

    Returns
    -------
    Result
        For ``both`` a :class:`PairedResult`.

    Raises
    ------
    InputError
        If the target is unknown or the channels do not serve it.
    ModelError
        If the network fails.
    """
    if target is not None and target not in TARGETS:
        raise InputError(f"Expected a target out of {', '.join(TARGETS)}, but got {target!r}.")
    whole = as_image(image, axes=axes)
    if target == "both":
        return segment_both(
            segmenter, whole, nucleus=nucleus, channels=channels, diameter=diameter, options=options
        )
    if target == "nuclei":
        channels = (find_nucleus_channel(whole, channels) if nucleus is None else nucleus,)
    return segmenter.segment(whole, channels=channels, diameter=diameter, options=options)


def segment_both(
    segmenter: Segmenter,
    image: Image,
    *,
    nucleus: int | None = None,
    channels: tuple[int, ...] | None = None,
    diameter: float | None = None,
    options: DecodeOptions | None = None,
) -> PairedResult:
    """Find the cells from all channels, the nuclei from theirs, and give pairs one id.

    The arguments are those of :func:`segment_target`; ``diameter`` is that of the cells, the
    nuclei's is always estimated.

    Raises
    ------
    InputError
        If the image does not show a nuclear and another channel.
    ModelError
        If the network fails.
    """
    if len(showing_channels(image)) < 2:
        raise InputError(
            "Expected a nuclear and a cell channel for the target both, but the image shows one "
            "channel: ask for nuclei or cells, or leave the target out."
        )
    own = find_nucleus_channel(image, channels) if nucleus is None else nucleus
    if channels == (own,):
        raise InputError(
            f"Expected channels that show the cells, but got that of the nuclei alone ({own}): "
            "give channels a cell channel too, or leave it out."
        )
    nuclei = segmenter.segment(image, channels=(own,), options=options)
    cells = segmenter.segment(image, channels=channels, diameter=diameter, options=options)
    paired, counts = assign_nuclei(nuclei.labels, cells.labels)
    return PairedResult(
        labels=cells.labels,
        confidence=cells.confidence,
        diameter=cells.diameter,
        image=image,
        certainty=cells.certainty,
        nuclei=paired,
        nucleus_counts=counts,
    )


def assign_nuclei(nuclei: Labels, cells: Labels) -> tuple[Labels, NDArray[np.int64]]:
    """Give each nucleus the id of the cell that holds at least half of it.

    Parameters
    ----------
    nuclei, cells
        int32, axes ``YX``, of one shape, ids 1..n without gaps.

    Returns
    -------
    labels
        int32, axes ``YX``: the nuclei with the ids of their cells; those that no cell holds have
        ids above the cells', without gaps, in the order they had. Where two cells hold a half
        each, the smaller id wins.
    counts
        int64, one value per cell: how many nuclei it holds.

    Raises
    ------
    InputError
        If the shapes differ.

    Notes
    -----
    Linear in pixels, whatever the number of cells.

    Examples
    --------
    >>> nuclei = np.array([[1, 0, 2, 0, 3, 3]], np.int32)
    >>> cells = np.array([[1, 1, 1, 2, 0, 0]], np.int32)
    >>> assign_nuclei(nuclei, cells)
    (array([[1, 0, 1, 0, 3, 3]], dtype=int32), array([2, 0]))
    """
    from cellrim.evaluation.overlap import find_overlap  # its room takes a while to import

    if nuclei.shape != cells.shape:
        raise InputError(
            f"Expected nuclei of the cells' shape {cells.shape}, but got {nuclei.shape}."
        )
    overlap = find_overlap(nuclei, cells)
    nucleus_count, cell_count = len(overlap.predicted_areas), len(overlap.truth_areas)
    held = np.flatnonzero(2 * overlap.shared >= overlap.predicted_areas[overlap.predicted])
    held = held[np.lexsort((overlap.truth[held], overlap.predicted[held]))]
    which, first = np.unique(overlap.predicted[held], return_index=True)
    owner = np.zeros(nucleus_count + 1, np.int32)
    owner[1 + which] = 1 + overlap.truth[held][first]
    counts = np.bincount(owner, minlength=cell_count + 1)[1:]
    free = owner == 0
    free[0] = False
    owner[free] = cell_count + np.arange(1, np.count_nonzero(free) + 1)
    labels: Labels = owner[nuclei]
    return labels, counts
