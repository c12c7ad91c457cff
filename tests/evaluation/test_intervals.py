import time
from dataclasses import fields

import numpy as np
import pytest

from cellrim.evaluation import Counts, Scores, scores
from cellrim.evaluation.intervals import curve_of, summarise
from cellrim.evaluation.scores import score_rows


def make_counts(seed, n=30, masks=True):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        cells = int(rng.integers(0, 60))
        good = rng.beta(6, 2)
        tp = tuple(int(cells * good * (1 - k / 12)) for k in range(10))
        found = int(tp[0] + rng.integers(0, 8))
        out.append(
            Counts(
                images=1,
                masks=int(masks),
                tp=tp,
                fp=tuple(found - t for t in tp),
                fn=tuple(cells - t for t in tp),
                iou_sum=0.8 * tp[0],
                count_error=abs(found - cells),
                pixel_tp=tp[0] * 100,
                pixel_fp=50,
                pixel_fn=(cells - tp[0]) * 100,
                aji_shared=tp[0] * 90,
                aji_union=cells * 120,
                measured=tp[0],
                boundary_sum=tp[0] * 1.5,
                hausdorff_sum=tp[0] * 4.0,
            )
        )
    return out


def test_fields_of_scores_and_rows_agree():
    rows = score_rows(Counts(images=1).as_row())
    assert list(rows) == [f.name for f in fields(Scores)]


def test_many_rows_are_scored_like_one():
    counts = make_counts(0)
    together = score_rows(np.stack([c.as_row() for c in counts]))
    for i, c in enumerate(counts):
        single = scores(c)
        for name, values in together.items():
            np.testing.assert_equal(values[i], getattr(single, name))


def test_values_are_of_the_images_as_they_are():
    counts = make_counts(1)
    summary = summarise(counts, resamples=50)
    pooled = scores(sum(counts, Counts()))
    for name, interval in summary.pooled.items():
        assert interval.value == pytest.approx(getattr(pooled, name))
        assert interval.low <= interval.value <= interval.high
        each = np.array([getattr(scores(c), name) for c in counts])
        assert summary.mean[name].value == pytest.approx(np.nanmean(each))
    assert summary.counts == sum(counts, Counts())
    np.testing.assert_allclose(curve_of(summary)[0][0], pooled.ap50)
    assert (curve_of(summary)[1] <= curve_of(summary)[0]).all()


def test_intervals_agree_with_a_plain_loop():
    counts = make_counts(2, n=25)
    summary = summarise(counts, resamples=4000, seed=3)
    rng = np.random.default_rng(9)
    pooled, mean = [], []
    for _ in range(4000):
        drawn = [counts[i] for i in rng.integers(0, 25, 25)]
        tp, fp, fn = (sum(getattr(c, n)[0] for c in drawn) for n in ("tp", "fp", "fn"))
        pooled.append(tp / (tp + fp + fn))
        mean.append(np.mean([c.tp[0] / max(1, c.tp[0] + c.fp[0] + c.fn[0]) for c in drawn]))
    for values, interval in ((pooled, summary.pooled["ap50"]), (mean, summary.mean["ap50"])):
        low, high = np.percentile(values, (2.5, 97.5))
        assert interval.low == pytest.approx(low, abs=0.01)
        assert interval.high == pytest.approx(high, abs=0.01)


def test_the_seed_decides():
    counts = make_counts(4)
    assert summarise(counts, seed=1) == summarise(counts, seed=1)
    assert summarise(counts, seed=1) != summarise(counts, seed=2)


def test_one_image_has_no_interval():
    summary = summarise(make_counts(5, n=1))
    assert np.isfinite(summary.pooled["ap50"].value)
    assert np.isnan(summary.pooled["ap50"].low)
    assert np.isnan(summary.mean["ap50"].high)


def test_no_images():
    summary = summarise([])
    assert summary.pooled == {}
    assert np.isnan(curve_of(summary)[0]).all()


def test_what_is_not_measured_stays_so():
    summary = summarise(make_counts(6, masks=False), resamples=20)
    assert np.isnan(summary.pooled["dice"].value)
    assert np.isnan(summary.mean["dice"].low)
    assert summary.pooled["f1"].low > 0


def test_images_without_a_value_leave_the_mean():
    good, bad = make_counts(7, n=2), Counts(images=1, masks=1, fn=(3,) * 10)
    summary = summarise([*good, bad], resamples=20)
    assert summary.mean["boundary"].value == pytest.approx(1.5)
    assert summary.mean["ap50"].value < np.mean([scores(c).ap50 for c in good])


def test_ten_thousand_images_take_seconds():
    counts = make_counts(8, n=500) * 20
    begin = time.process_time()
    summarise(counts)
    assert time.process_time() - begin < 20
