"""Make a trained model the embedded default, if it is better on the fixed validation split.

Usage: CELLRIM_DATA=path/to/data python scripts/promote_model.py runs/general/model [NAME]

Every validation image, and deepcell, on which nothing was ever trained, are segmented by both
models, as users run them, in their eight orientations: the score of a single look moves by more
than models differ (docs/decisions/0019-better.md). The score is (AP50 + mAP) / 2, and F1 where
boxes are compared; means are over the sets. The networks and card.json are copied into the package
only if the validation sets gain more than the standard error of the gain, and deepcell loses no
more than twice its own. The new card says so (``replaced``). A new card of the same network, with
other decode options for example, is taken if the validation sets do not lose. Exit code 1 if the
old model stays. Takes about six minutes on two cores.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from cellrim.models.card import (
    CARD_NAME,
    INT8_NAME,
    ONNX_NAME,
    Replaced,
    read_card,
    write_card,
)

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from orientations import Change, compare_models  # noqa: E402
from shared import by_set, recipe_samples, unseen_samples  # noqa: E402

EMBEDDED = ROOT / "src" / "cellrim" / "models" / "embedded"

LARGEST_UNSEEN_LOSS = 2
"""What may be lost where nothing was trained on, in standard errors: more is not chance."""


def main() -> int:
    source = Path(sys.argv[1])
    new = read_card(source / CARD_NAME)
    target = EMBEDDED / (sys.argv[2] if len(sys.argv) > 2 else new.name)
    old = read_card(target / CARD_NAME) if (target / CARD_NAME).is_file() else None
    if old is not None and old.validation:  # one that was never measured is no rival
        if set(old.validation) - set(new.validation):
            print(f"The validation sets differ: {sorted(old.validation)}, {sorted(new.validation)}")
            return 1
        scores = compare(target, source)
        same = new.sha256 == old.sha256
        if not (scores.held_back.gain >= 0 if same else is_better(scores)):
            print("The old model stays: the new one is not better.")
            return 1
        replaced = old.replaced if same else scores.for_card(old.sha256)
        new = msgspec.structs.replace(new, replaced=replaced)
    target.mkdir(parents=True, exist_ok=True)
    for file in (ONNX_NAME, INT8_NAME):
        if (source / file).is_file():
            shutil.copyfile(source / file, target / file)
        else:
            (target / file).unlink(missing_ok=True)
    write_card(target / CARD_NAME, new)
    print(f"{new.name} is now {source}")
    return 0


class Scores(NamedTuple):
    """What changes on the fixed validation split, and where nothing was ever trained on."""

    held_back: Change
    unseen: Change

    def for_card(self, replaced: str) -> Replaced:
        return Replaced(
            sha256=replaced,
            views=len(self.held_back.before),
            score_before=float(self.held_back.before.mean()),
            score=float(self.held_back.after.mean()),
            standard_error=self.held_back.error,
            unseen_before=float(self.unseen.before.mean()),
            unseen=float(self.unseen.after.mean()),
        )


def is_better(scores: Scores) -> bool:
    held_back, unseen = scores
    return held_back.gain > held_back.error and unseen.gain >= -LARGEST_UNSEEN_LOSS * unseen.error


def compare(old: Path, new: Path) -> Scores:
    """Segment all images in eight orientations with both models."""
    parts = recipe_samples("validation"), unseen_samples()
    return Scores(*(compare_models(old, new, by_set(p)) for p in parts))


if __name__ == "__main__":
    sys.exit(main())
