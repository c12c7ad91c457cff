"""Label image and image to one row of measurements per cell."""

from cellrim.measure.cells import CellTable, measure_cells

__all__ = ["CellTable", "measure_cells"]
