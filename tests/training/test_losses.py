from __future__ import annotations

import numpy as np
import torch

from cellrim.representation.encode import encode
from cellrim.training.losses import imitation_loss, map_loss, overlap_counts
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


def test_a_teacher_that_draws_the_truth_teaches_the_truth():
    truth, kind, target = example()
    maps = truth + torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    settings = TrainingPart(small_cells=1.0)
    sure = truth.clone()
    sure[:, 0] *= 10
    expected = map_loss(maps, kind, target, settings)
    found = imitation_loss(maps, sure, kind, target, settings)
    for part, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, part, rtol=1e-3, atol=1e-4)


def test_nothing_is_better_than_to_draw_what_the_teacher_draws():
    taught, kind, target = noise(1), *example()[1:]
    maps = taught.clone().requires_grad_()
    loss = imitation_loss(maps, taught, kind, target, TrainingPart())
    torch.autograd.backward(loss.total)
    assert maps.grad.abs().max() < 1e-7
    assert imitation_loss(taught + 0.1, taught, kind, target, TrainingPart()).total > loss.total


def test_the_annotation_alone_is_learnt_where_all_of_it_is_kept():
    _, kind, target = example()
    settings = TrainingPart(annotation=1.0, small_cells=1.0)
    maps = noise(2)
    found = imitation_loss(maps, noise(1), kind, target, settings)
    for part, other in zip(map_loss(maps, kind, target, settings), found, strict=True):
        torch.testing.assert_close(other, part)


def test_what_is_shared_pulls_as_both_do():
    taught, kind, target = noise(1), *example()[1:]

    def pull(*parts):
        maps = noise(2).requires_grad_()
        total = sum(
            share
            * imitation_loss(maps, taught, kind, target, TrainingPart(annotation=annotation)).total
            for share, annotation in parts
        )
        torch.autograd.backward(total)
        # The diameter's error is no square, and cells are where either says so.
        return maps.grad[:, :3]

    torch.testing.assert_close(pull((1, 0.3)), pull((0.7, 0.0), (0.3, 1.0)))


def test_the_teacher_alone_teaches_where_nobody_has_annotated():
    _, kind, target = example()
    nobody, taught = torch.full_like(kind, IGNORE), noise(1)
    alone, both = (
        imitation_loss(noise(2), taught, nobody, target, TrainingPart(annotation=share))
        for share in (0.0, 1.0)
    )
    assert both == alone


def noise(seed):
    return torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(seed))
