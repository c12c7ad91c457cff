import re
from pathlib import Path

import numpy as np
import pytest

from cellrim.core.image import image_from_array
from cellrim.measure import measure_cells, summarise
from cellrim.measure.columns import (
    ARROW_TYPES,
    CELL_COLUMNS,
    IMAGE_COLUMNS,
    PAIRED_COLUMNS,
    RUN_COLUMNS,
    STACK_COLUMNS,
    expand,
    markdown,
)
from cellrim.measure.quality import Quality

DOCS = Path(__file__).parents[2] / "docs" / "measurements.md"
CHANNELS = ("dna", "actin")
OF_RUN = {"image", "source", "status", "error", "flags"}


@pytest.fixture
def measured(cells, picture):
    pixels = np.stack([picture, picture[::-1]], axis=2)
    image = image_from_array(pixels, axes="YXC", channels=CHANNELS, pixel_size=0.5)
    nuclei = np.where(np.arange(cells.size).reshape(cells.shape) % 3, cells, 0).astype(np.int32)
    table = measure_cells(cells, image, nuclei=nuclei, confidence=np.ones(4, np.float32))
    return table, summarise(table, image)


def test_the_dictionary_has_exactly_the_columns_of_cells(measured):
    table, _ = measured
    assert sorted(table.columns) == sorted(expand(CELL_COLUMNS, CHANNELS))


def test_the_dictionary_has_exactly_the_columns_of_images(measured):
    _, summary = measured
    found = [*summary, *(f"quality_{name}" for name in Quality().as_numbers())]
    assert found == [n for n in expand(IMAGE_COLUMNS, CHANNELS) if n not in OF_RUN]


def test_the_docs_list_exactly_the_columns():
    tables = re.findall(r"(?:^\|.*\n)+", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    parts = (CELL_COLUMNS, PAIRED_COLUMNS, STACK_COLUMNS, RUN_COLUMNS, IMAGE_COLUMNS)
    assert tables == [markdown(c) for c in parts]


def test_types_of_parquet_are_those_of_the_columns(measured):
    table, summary = measured
    kinds = {"i": "int64", "b": "bool", "f": "float64"}
    for name, values in table.columns.items():
        assert kinds[values.dtype.kind] == ARROW_TYPES.get(name, "float64"), name
    for name, value in summary.items():
        assert isinstance(value, int) == (ARROW_TYPES.get(name) == "int64"), name
