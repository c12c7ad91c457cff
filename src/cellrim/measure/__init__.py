"""Label image and image to one row of measurements per cell."""

from cellrim.measure.cells import CellTable, measure_cells
from cellrim.measure.summary import summarise

__all__ = ["CellTable", "measure_cells", "summarise"]
