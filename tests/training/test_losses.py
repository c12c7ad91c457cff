from __future__ import annotations

import numpy as np
import pytest
import torch

from cellrim.representation.encode import encode
from cellrim.training.losses import between_cells, map_loss, overlap_counts
from cellrim.training.recipe import TrainingPart
from cellrim.training.store import CELL, IGNORE


def example():
    labels = np.zeros((32, 32), np.int32)
    labels[4:16, 4:16] = 1
    labels[18:30, 12:28] = 2
    maps = torch.from_numpy(encode(labels, 12.0))[None]
    kind = torch.from_numpy((labels > 0).astype(np.int8) * CELL)[None]
    return maps, kind, maps[:, 1:].clone()


def test_the_truth_has_almost_no_loss():
    maps, kind, target = example()
    assert map_loss(maps, kind, target, TrainingPart()).total < 1e-3


def test_each_part_sees_its_own_fault():
    maps, kind, target = example()
    settings = TrainingPart()
    wrong = -maps[:, :1]
    assert map_loss(torch.cat([wrong, maps[:, 1:]], 1), kind, target, settings).foreground > 5
    turned = maps.clone()
    turned[:, 1:3] *= -1
    assert map_loss(turned, kind, target, settings).flow > 1
    larger = maps.clone()
    larger[:, 3] += 1
    assert 0.8 < map_loss(larger, kind, target, settings).diameter < 1


def test_ignored_pixels_cost_nothing():
    maps, kind, target = example()
    wrong = maps.clone()
    wrong[:, :, :, 20:] *= -3
    kind[:, :, 20:] = IGNORE
    assert map_loss(wrong, kind, target, TrainingPart()).total < 1e-3
    assert overlap_counts(wrong, kind)[1:].sum() == 0


def test_a_batch_without_cells_or_without_annotation_is_finite():
    maps = torch.zeros(2, 4, 8, 8)
    for fill in (0, IGNORE):
        kind = torch.full((2, 8, 8), fill, dtype=torch.int8)
        assert torch.isfinite(map_loss(maps, kind, torch.zeros(2, 3, 8, 8), TrainingPart()).total)


def touching(gap):
    """The true flow of two squares side by side, ``gap`` pixels apart, and of one alone."""
    labels = np.zeros((32, 48), np.int32)
    labels[4:16, 4:16] = 1
    labels[4:16, 16 + gap : 28 + gap] = 2
    labels[20:30, 34:46] = 3
    return torch.from_numpy(encode(labels, 12.0))[None, 1:3]


@pytest.mark.parametrize("gap", [0, 1, 2])
@pytest.mark.parametrize("turned", [False, True])
def test_pixels_between_cells_are_where_cells_touch(gap, turned):
    flow = touching(gap)
    if turned:
        flow = flow.transpose(2, 3).flip(1)
    near = between_cells(flow)[0]
    if turned:
        near = near.T
    rows, columns = np.nonzero(near.numpy())
    assert near[4:16, 16 : 16 + gap + 1].all()
    assert rows.max() < 20  # none in the cell that stands alone
    assert columns.min() >= 16 - 4
    assert columns.max() < 16 + gap + 4


def test_cells_that_stand_apart_have_no_pixels_between_them():
    assert not between_cells(touching(6)).any()


def test_faults_between_cells_weigh_more():
    labels = np.zeros((32, 32), np.int32)
    labels[4:16, 4:16] = 1
    labels[4:16, 16:28] = 2
    maps = torch.from_numpy(encode(labels, 12.0))[None]
    kind = torch.from_numpy((labels > 0).astype(np.int8) * CELL)[None]
    here, elsewhere = maps.clone(), maps.clone()
    here[:, 1:3, 8:12, 14:18] = 0
    elsewhere[:, 1:3, 8:12, 4:8] = 0

    def flow_loss(wrong, contacts):
        return map_loss(wrong, kind, maps[:, 1:], TrainingPart(contacts=contacts)).flow

    before, after = (float(flow_loss(here, c) / flow_loss(elsewhere, c)) for c in (0, 3))
    assert after == pytest.approx(4 * before, rel=1e-4)
