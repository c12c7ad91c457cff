import numpy as np
import pytest

from cellrim.io.spool import LabelSpool


def test_label_images_come_back_in_any_order():
    rng = np.random.default_rng(4)
    images = [rng.integers(0, 70_000, (n, 9)).astype(np.int32) for n in (5, 7, 0)]
    with LabelSpool() as spool:
        assert spool.largest == 0
        for image in images:
            spool.append(image)
        assert len(spool) == 3
        assert spool.largest == max(int(i.max(initial=0)) for i in images)
        for number in (2, 0, 1):
            np.testing.assert_array_equal(spool[number], images[number])
        for got, image in zip(spool, images, strict=True):
            assert got.dtype == np.int32
            np.testing.assert_array_equal(got, image)
    with pytest.raises(ValueError, match="closed"):
        spool[0]
