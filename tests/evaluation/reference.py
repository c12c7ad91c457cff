"""Slow plain twins of the metrics, written from their definitions with a mask per instance."""

import itertools

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def masks_of(labels):
    return [labels == i for i in np.unique(labels) if i > 0]


def iou_table(predicted, truth):
    table = np.zeros((len(predicted), len(truth)))
    for i, j in itertools.product(range(len(predicted)), range(len(truth))):
        table[i, j] = (predicted[i] & truth[j]).sum() / (predicted[i] | truth[j]).sum()
    return table


def optimal_pairs(iou, threshold):
    """Most matches first, then the largest sum of IoU."""
    allowed = iou >= threshold - 1e-12
    gain = np.where(allowed, 1000 + iou, 0)
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [pair for pair in pairs if allowed[pair]]


def instance_counts(predicted, truth, threshold):
    """TP, FP, FN and the sum of the matched IoU."""
    iou = iou_table(masks_of(predicted), masks_of(truth))
    pairs = optimal_pairs(iou, threshold)
    tp = len(pairs)
    return tp, iou.shape[0] - tp, iou.shape[1] - tp, sum(iou[p] for p in pairs)


def aji(predicted, truth):
    p, t = masks_of(predicted), masks_of(truth)
    shared = union = 0
    used = set()
    for mask in t:
        overlaps = [(k, (mask & q).sum(), (mask | q).sum()) for k, q in enumerate(p)]
        overlaps = [o for o in overlaps if o[1] > 0]
        if not overlaps:
            union += mask.sum()
            continue
        k, i, u = max(overlaps, key=lambda o: (o[1] / o[2], o[1]))
        used.add(k)
        shared += i
        union += u
    union += sum(q.sum() for k, q in enumerate(p) if k not in used)
    return shared / union if union else 1.0


def has_ties(predicted, truth):
    iou = iou_table(masks_of(predicted), masks_of(truth))
    return any(len(set(c[c > 0])) < (c > 0).sum() for c in iou.T)


def split_count(pieces, wholes):
    found = 0
    for whole in masks_of(wholes):
        parts = [
            q
            for q in masks_of(pieces)
            if (q & whole).sum() > q.sum() / 2 and (q & whole).sum() >= whole.sum() / 10
        ]
        found += len(parts) >= 2
    return found


def outline(mask):
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))


def outline_distances(a, b):
    """Mean and 95 % Hausdorff distance of two masks."""
    table = cdist(outline(a), outline(b))
    there, back = table.min(axis=1), table.min(axis=0)
    mean = np.concatenate([there, back]).mean()
    return mean, max(np.percentile(there, 95), np.percentile(back, 95))


def box_iou(a, b):
    height = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = height * width
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
