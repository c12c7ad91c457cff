"""One row of measurements per cell, and how far an image can be trusted."""

from cellrim.measure.cells import CellTable, measure_cells
from cellrim.measure.quality import Quality, flags, measure_quality, sentences
from cellrim.measure.summary import summarise, summarise_stack

__all__ = [
    "CellTable",
    "Quality",
    "flags",
    "measure_cells",
    "measure_quality",
    "sentences",
    "summarise",
    "summarise_stack",
]
