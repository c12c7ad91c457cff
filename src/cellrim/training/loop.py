"""The training loop: patches through the U-Net until the recipe, or the time, is used up."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cellrim.errors import RecipeError
from cellrim.models.registry import ModelFolder
from cellrim.models.unet import UNet
from cellrim.training.checkpoint import Checkpoint, State, read_checkpoint, write_checkpoint
from cellrim.training.losses import Losses, imitation_loss, map_loss, overlap_counts
from cellrim.training.origin import (
    Origin,
    borrow,
    origin_of_checkpoint,
    origin_of_model,
    shape_of,
)
from cellrim.training.patches import PatchSource
from cellrim.training.recipe import Recipe
from cellrim.training.rounding import Rounding
from cellrim.training.store import Index
from cellrim.training.teacher import Teacher

CHECKPOINT = "checkpoint.pt"
# A kill loses at most this much work.
CHECKPOINT_SECONDS = 120.0
# The learning rate ends at this fraction of its peak.
_LAST_RATE = 0.01
_GRADIENT_NORM = 5.0
# Batches over which the normalisation statistics of an exported model are measured again.
_STATISTICS_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop and how to run.

    Parameters
    ----------
    max_minutes
        Stop after this time in this call, leaving a checkpoint to resume from; None for no limit.
    anneal_minutes
        End the cosine schedule after this much training in all calls together, even if fewer
        patches than the recipe's were seen; None to follow the patches alone.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers
        Processes that make patches.
    """

    max_minutes: float | None = None
    anneal_minutes: float | None = None
    device: str = "auto"
    workers: int = 2


class Observer(Protocol):
    """What the loop tells the outside."""

    def step(self, *, patches: int, total: int, loss: float, seconds_left: float) -> None:
        """Report progress, a few times a second at most."""
        ...

    def epoch(self, model: UNet, row: dict[str, float]) -> float:
        """Validate the averaged model; add columns to the row and return the score to maximise."""
        ...


class _Patches(Dataset[tuple[Tensor, Tensor, Tensor]]):
    def __init__(self, source: PatchSource) -> None:
        self._source = source

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        patch = self._source[number]
        image = torch.from_numpy(patch.image)
        return image, torch.from_numpy(patch.kind), torch.from_numpy(patch.maps)


class Trainer:
    """Trains one recipe in one run folder, alone or as one of several processes.

    Under ``torchrun`` each process takes every n-th patch and gradients are averaged; only the
    first writes and validates.
    """

    def __init__(self, recipe: Recipe, packed: Path, index: Index, *, limits: Limits) -> None:
        self.recipe = recipe
        self._limits = limits
        self._source = self._make_source(packed, index)
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = choose_device(limits.device)
        self._half = half_precision(self.device)
        torch.manual_seed(recipe.training.seed)
        self.model = _channels_last(self._make_network().to(self.device))
        self.average = _channels_last(self._make_network().to(self.device))
        self.average.load_state_dict(self.model.state_dict())
        self._rounding = Rounding(self.model)
        self._teacher = self._make_teacher()
        self.taught_by = self._teacher.sha256 if self._teacher else None
        self._parallel: nn.Module = self.model
        if self.world > 1:
            self._parallel = _distributed(self.model, self.device)
        self._optimiser = torch.optim.AdamW(
            _groups(self.model, recipe.training.weight_decay), lr=recipe.training.learning_rate
        )
        self._scaler = torch.amp.GradScaler(enabled=self._half is torch.float16)
        self.patches = 0
        self.seconds = 0.0
        self.best = float("-inf")
        self.best_model: State = {}
        self.history: list[dict[str, float]] = []
        self.started_from: str | None = None
        # From a model that lacks some layers; learns later than those. Empty where it lacks none.
        self.borrowed: frozenset[str] = frozenset()
        self.start: State = {}

    # ------------------------------------------------------------------ parts

    def _make_source(self, packed: Path, index: Index) -> PatchSource:
        return PatchSource(self.recipe, packed, index)

    def _make_network(self) -> UNet:
        return UNet(shape_of(self.recipe))

    def _make_teacher(self) -> Teacher | None:
        name = self.recipe.training.teacher
        return Teacher(name, self.device, self._half) if name is not None else None

    def _losses(self, maps: Tensor, kind: Tensor, target: Tensor) -> Losses:
        return map_loss(maps, kind, target, self.recipe.training)

    # ------------------------------------------------------------------ state

    def start_from(self, weights: State) -> None:
        """Begin with the weights of another model of the same size instead of random ones.

        Raises
        ------
        RecipeError
            If the weights do not fit the recipe's model.
        """
        try:
            self.model.load_state_dict(weights)
            self.average.load_state_dict(weights)
        except RuntimeError as error:
            raise RecipeError(f"The weights do not fit the recipe's model: {error}") from error

    def start_from_checkpoint(self, path: Path) -> None:
        """Begin with the averaged weights of another training; its network may have other ends.

        Raises
        ------
        RecipeError
            If the file is no checkpoint, or the network differs more.
        """
        self._begin(origin_of_checkpoint(path))

    def start_from_model(self, folder: ModelFolder) -> None:
        """Begin with the weights of an exported model; its network may have other ends.

        Raises
        ------
        ModelError
            If the folder holds no network that can be trained on.
        RecipeError
            If the network differs more.
        """
        size = self.recipe.training.batch
        batches = (
            torch.from_numpy(np.stack([self._source[i].image for i in range(b, b + size)]))
            for b in range(0, _STATISTICS_BATCHES * size, size)
        )
        self._begin(origin_of_model(folder, batches))

    def _begin(self, origin: Origin) -> None:
        weights, borrowed = borrow(origin, dict(self.model.state_dict()), self.model.shape)
        self.start_from(weights)
        self.started_from = origin.sha256
        self.borrowed = borrowed if len(borrowed) < len(weights) else frozenset()

    def save(self, path: Path) -> None:
        """Write the state to resume from."""
        state = Checkpoint(
            recipe=self.recipe.model_dump_json(),
            patches=self.patches,
            seconds=self.seconds,
            model=self.model.state_dict(),
            average=self.average.state_dict(),
            optimiser=self._optimiser.state_dict(),
            best=self.best,
            best_model=self.best_model,
            history=self.history,
            started_from=self.started_from,
            taught_by=self.taught_by,
            borrowed=sorted(self.borrowed),
            start=self.start,
        )
        write_checkpoint(path, state)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        RecipeError
            If it was written with another model or data.
        """
        state = read_checkpoint(path)
        before = Recipe.model_validate_json(state.recipe)
        if (before.model, before.data) != (self.recipe.model, self.recipe.data):
            raise RecipeError(
                f"The checkpoint {path} was trained with another model or other data than the "
                "recipe says: use the old recipe, or a new run folder."
            )
        self.start_from(state.model)
        self.average.load_state_dict(state.average)
        self._optimiser.load_state_dict(state.optimiser)
        self.patches, self.seconds = state.patches, state.seconds
        self.best, self.best_model, self.history = state.best, state.best_model, state.history
        self.started_from, self.start = state.started_from, state.start
        self.borrowed = frozenset(state.borrowed)

    # ------------------------------------------------------------------ the loop

    @property
    def progress(self) -> float:
        """How far the schedule is, 0..1."""
        by_patches = self.patches / self.recipe.training.patches
        anneal = self._limits.anneal_minutes
        by_time = self.seconds / (anneal * 60) if anneal else 0.0
        return min(1.0, max(by_patches, by_time))

    def leave(self) -> None:
        """Part from the other processes once all of them are done; nothing is trained after that.

        A process that ended with its group still open could be killed by the group's threads.
        """
        if self.world > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()

    def run(self, folder: Path, observer: Observer) -> bool:
        """Train until the schedule or the time ends, or the process is asked to stop.

        Returns
        -------
        bool
            Whether the schedule is finished (else: resume).
        """
        begin = time.monotonic()
        saved = begin
        tally = _Tally(self.device)
        with _stop_requests() as stop:
            before = self.seconds
            for batch in self._batches():
                loss = self._step(batch, tally)
                now = time.monotonic()
                self.seconds = before + now - begin
                self._report(observer, loss)
                if self._epoch_ends():
                    self._end_epoch(observer, tally)
                    tally = _Tally(self.device)
                over = self._limits.max_minutes and now - begin > self._limits.max_minutes * 60
                done = self._agree(bool(stop) or bool(over) or self.progress >= 1)
                if self.rank == 0 and (done or now - saved > CHECKPOINT_SECONDS):
                    self.save(folder / CHECKPOINT)
                    saved = now
                if done:
                    break
        return self.progress >= 1

    def judge_start(self, observer: Observer) -> None:
        """Validate the weights training begins with, as epoch 0: the mark to beat.

        Not where some are random: those draw noise, which takes long to decode and says nothing.
        """
        if self.borrowed:
            return
        if self.recipe.validation.blends:
            self.start = _copied(self.average_state())
        if self.rank == 0:
            self._judge(observer, {"epoch": 0.0, "patches": 0.0, "minutes": 0.0})

    def try_steps(self, count: int) -> None:
        """Take a few steps without writing anything, to see that they work."""
        tally = _Tally(self.device)
        for _, batch in zip(range(count), self._batches(), strict=False):
            self._step(batch, tally)

    def _batches(self) -> Iterator[list[Tensor]]:
        settings = self.recipe.training
        numbers = range(self.patches + self.rank, 2**62, self.world)
        loader = DataLoader(
            _Patches(self._source),
            batch_size=settings.batch,
            sampler=_Endless(numbers),
            num_workers=self._limits.workers,
            prefetch_factor=4 if self._limits.workers else None,
            pin_memory=self.device.type == "cuda",
        )
        yield from loader

    def _step(self, batch: list[Tensor], tally: _Tally) -> float:
        image, kind, target = (t.to(self.device, non_blocking=True) for t in batch)
        self._parallel.train()
        self._hold_borrowed()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        self._optimiser.zero_grad(set_to_none=True)
        self._rounding.on = self.progress > 1 - self.recipe.training.rounded
        with self._rounding.weights():
            with torch.autocast(self.device.type, self._half, enabled=self._half is not None):
                maps = self._parallel(image.contiguous(memory_format=torch.channels_last))
            if self._teacher is None:
                losses = self._losses(maps, kind, target)
            else:
                taught = self._teacher.draw(image, self.patches // len(image))
                losses = imitation_loss(maps, taught, kind, target, self.recipe.training)
            torch.autograd.backward(self._scaler.scale(losses.total))
        self._scaler.unscale_(self._optimiser)
        nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_NORM)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._average()
        self.patches += len(image) * self.world
        tally.add(losses.foreground, losses.flow, losses.diameter, losses.total)
        tally.overlap += overlap_counts(maps.detach(), kind)
        return tally.smooth(losses.total)

    def _hold_borrowed(self) -> None:
        """Let only the new layers learn at first, where others came from another model."""
        if self.borrowed:
            learns = self.patches >= self.recipe.training.new_layers
            for name, weight in self.model.named_parameters():
                if name in self.borrowed:
                    weight.requires_grad_(learns)

    def _rate(self) -> float:
        settings = self.recipe.training
        rise = min(1.0, (self.patches + settings.batch) / max(settings.warmup, 1))
        fall = 0.5 * (1 + math.cos(math.pi * self.progress))
        return settings.learning_rate * rise * (_LAST_RATE + (1 - _LAST_RATE) * fall)

    @torch.no_grad()
    def _average(self) -> None:
        steps = self.patches / (self.recipe.training.batch * self.world)
        keep = min(self.recipe.training.ema, (1 + steps) / (10 + steps))
        mine, other = self.average.state_dict(), self.model.state_dict()
        floats = [k for k, v in mine.items() if v.dtype.is_floating_point]
        torch._foreach_lerp_([mine[k] for k in floats], [other[k] for k in floats], 1 - keep)

    def _epoch_ends(self) -> bool:
        every = self.recipe.validation.every
        step = self.recipe.training.batch * self.world
        return self.patches // every > (self.patches - step) // every

    def _end_epoch(self, observer: Observer, tally: _Tally) -> None:
        if self.rank != 0:
            return
        row = {
            "epoch": (self.history[-1]["epoch"] if self.history else 0.0) + 1,
            "patches": float(self.patches),
            "minutes": self.seconds / 60,
            "learning_rate": self._rate(),
            **tally.means(),
        }
        self._judge(observer, row)

    def _judge(self, observer: Observer, row: dict[str, float]) -> None:
        score = observer.epoch(self.average, row)
        row["score"] = score
        self.history.append(row)
        if score > self.best:
            self.best = score
            self.best_model = _copied(self.average_state())

    def average_state(self) -> State:
        """Weights of the averaged model."""
        return dict(self.average.state_dict())

    def _report(self, observer: Observer, loss: float) -> None:
        if self.rank == 0:
            left = self.seconds / max(self.progress, 1e-6) * (1 - self.progress)
            total = self.recipe.training.patches
            observer.step(patches=self.patches, total=total, loss=loss, seconds_left=left)

    def _agree(self, stop: bool) -> bool:
        """Stop all processes as soon as one of them stops."""
        if self.world == 1:
            return stop
        votes = torch.tensor(float(stop), device=self.device)
        torch.distributed.all_reduce(votes)
        return bool(votes.item() > 0)


class _Endless:
    """A sampler over patch numbers without an end that matters."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)


class _Tally:
    """Sums over the batches of one epoch, kept on the device."""

    names = ("loss_foreground", "loss_flow", "loss_diameter", "loss")

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(4, device=device)
        self._count = 0
        self._smooth = math.nan
        self.overlap = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, *parts: Tensor) -> None:
        self._sums += torch.stack([p.detach() for p in parts])
        self._count += 1

    def smooth(self, total: Tensor) -> float:
        if self._count % 10 == 1:  # reading a value waits for the device
            now = float(total.detach())
            self._smooth = now if math.isnan(self._smooth) else 0.8 * self._smooth + 0.2 * now
        return self._smooth

    def means(self) -> dict[str, float]:
        hit, extra, missed = (float(x) for x in self.overlap)
        union = max(hit + extra + missed, 1.0)
        row = dict(zip(self.names, (self._sums / max(self._count, 1)).tolist(), strict=True))
        row["train_dice"] = 2 * hit / max(2 * hit + extra + missed, 1.0)
        row["train_iou"] = hit / union
        return row


def choose_device(name: str) -> torch.device:
    """Resolve ``auto`` and check that the device is there.

    Raises
    ------
    RecipeError
        If CUDA is asked for and not available, or the name is unknown.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError("Expected a CUDA device, but this torch sees none; use --device cpu.")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(f"Expected auto, cpu, cuda or cuda:N, but got {name!r}.") from error
    if name == "cuda":  # torchrun tells each process which
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def half_precision(device: torch.device) -> torch.dtype | None:
    """Choose the 16-bit type to compute in, or None where the processor has none that is fast."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else None


def _copied(weights: State) -> State:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for convolution kernels only."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _distributed(model: nn.Module, device: torch.device) -> nn.Module:
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=ids)


def _channels_last(model: UNet) -> UNet:
    for weight in model.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return model


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying, so that the last step is saved."""
    seen: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(n, remember) for n in numbers]
    try:
        yield seen
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def summarise(rows: list[dict[str, float]]) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Columns of the history; NaN where a row has no value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {n: np.array([row.get(n, math.nan) for row in rows]) for n in names}
