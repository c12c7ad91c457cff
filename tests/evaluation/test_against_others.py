"""The numbers of other people's code on the same label images."""

import contextlib
import io

import numpy as np
import pytest
from scipy.spatial.distance import dice, directed_hausdorff, jaccard
from skimage.metrics import hausdorff_distance

from cellrim.core.labels import borders
from cellrim.evaluation import count_image, scores
from cellrim.evaluation.boundary import boundary_distances
from cellrim.evaluation.overlap import THRESHOLDS, find_overlap, match


def coco_of(labels, mask_utils, with_score):
    """Instances as COCO annotations, in order of the ids."""
    rows = []
    for number, i in enumerate(np.unique(labels[labels > 0]), start=1):
        code = mask_utils.encode(np.asfortranarray(labels == i))
        row = {
            "id": number,
            "image_id": 1,
            "category_id": 1,
            "segmentation": code,
            "area": float(mask_utils.area(code)),
            "bbox": mask_utils.toBbox(code).tolist(),
            "iscrowd": 0,
        }
        rows.append(row | ({"score": 1.0} if with_score else {}))
    return rows


@pytest.fixture
def coco_evaluation(pair):
    """COCO's own matching of the pair at our thresholds."""
    pytest.importorskip("pycocotools")
    from pycocotools import mask as mask_utils
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    predicted, truth = pair
    found = coco_of(predicted, mask_utils, with_score=True)
    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = {
            "info": {},
            "images": [{"id": 1, "height": truth.shape[0], "width": truth.shape[1]}],
            "categories": [{"id": 1}],
            "annotations": coco_of(truth, mask_utils, with_score=False),
        }
        there.createIndex()
        run = COCOeval(there, there.loadRes(found), "segm")
        run.params.iouThrs = np.array(THRESHOLDS)
        run.params.areaRng = [[0, 1e10]]
        run.params.areaRngLbl = ["all"]
        run.params.maxDets = [1000]
        run.evaluate()
    return run, mask_utils


def test_matches_are_those_of_coco(pair, coco_evaluation):
    run, _ = coco_evaluation
    counts = count_image(*pair)
    matched = (run.evalImgs[0]["dtMatches"] > 0).sum(axis=1)
    missed = (run.evalImgs[0]["gtMatches"] == 0).sum(axis=1)
    # At exactly 0.5, where partners are not unique, COCO is greedy; these pairs have no such case.
    assert counts.tp == tuple(matched.tolist())
    assert counts.fn == tuple(missed.tolist())


def test_iou_is_that_of_coco(pair, coco_evaluation):
    _, mask_utils = coco_evaluation
    predicted, truth = pair
    codes = [[r["segmentation"] for r in coco_of(x, mask_utils, False)] for x in pair]
    overlap = find_overlap(predicted, truth)
    table = np.zeros((len(codes[0]), len(codes[1])))
    table[overlap.predicted, overlap.truth] = overlap.iou
    np.testing.assert_allclose(table, mask_utils.iou(*codes, [0] * len(codes[1])))


def test_dice_and_iou_are_those_of_scipy(pair):
    a, b = (x.ravel() > 0 for x in pair)
    s = scores(count_image(*pair))
    assert s.dice == pytest.approx(1 - dice(a, b))
    assert s.iou == pytest.approx(1 - jaccard(a, b))


def test_outlines_and_their_distances_are_those_of_scipy_and_skimage(pair):
    predicted, truth = pair
    overlap = find_overlap(predicted, truth)
    matches = match(overlap)
    pairs = overlap.predicted[matches], overlap.truth[matches]
    _, tails = boundary_distances(predicted, truth, pairs=pairs)
    ids = [np.unique(x[x > 0]) for x in pair]
    for i, j, tail in zip(*pairs, tails, strict=True):
        a = (predicted == ids[0][i]) & borders(predicted)
        b = (truth == ids[1][j]) & borders(truth)
        largest = hausdorff_distance(a, b)
        points = np.argwhere(a), np.argwhere(b)
        assert largest == max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
        assert tail <= largest
