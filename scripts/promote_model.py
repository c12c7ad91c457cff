"""Make a trained model the embedded default, if it is better on the fixed validation split.

Usage: python scripts/promote_model.py runs/general/model [NAME]

Compares the validation metrics in the two model cards, set by set, and copies the networks and
card.json into the package only if the mean over the sets has risen: of (AP50 + mAP) / 2, and of F1
where boxes are compared. A new card of the same network, with other decode options for example, is
taken if the mean has not fallen. Exit code 1 if the old model stays.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from cellrim.models.card import CARD_NAME, INT8_NAME, ONNX_NAME, ModelCard, read_card

EMBEDDED = Path(__file__).parents[1] / "src" / "cellrim" / "models" / "embedded"
BOXES = ("bbbc041",)


def headline(card: ModelCard, name: str) -> float:
    values = card.validation[name]
    if name in BOXES:
        return values["f1"]
    return (values["ap50"] + values["map"]) / 2


def main() -> int:
    source = Path(sys.argv[1])
    new = read_card(source / CARD_NAME)
    target = EMBEDDED / (sys.argv[2] if len(sys.argv) > 2 else new.name)
    old = read_card(target / CARD_NAME) if (target / CARD_NAME).is_file() else None
    if old is not None and old.validation:  # one that was never measured is no rival
        sets = sorted(set(old.validation) & set(new.validation))
        if not sets or set(old.validation) - set(new.validation):
            print(f"The validation sets differ: {sorted(old.validation)}, {sorted(new.validation)}")
            return 1
        before = [headline(old, s) for s in sets]
        after = [headline(new, s) for s in sets]
        for name, a, b in zip(sets, before, after, strict=True):
            print(f"{name:30} {a:.3f} -> {b:.3f}")
        print(f"{'mean':30} {sum(before) / len(sets):.3f} -> {sum(after) / len(sets):.3f}")
        same = new.sha256 == old.sha256
        if sum(after) < sum(before) or (sum(after) == sum(before) and not same):
            print("The old model stays: the new one is not better.")
            return 1
    target.mkdir(parents=True, exist_ok=True)
    for file in (ONNX_NAME, INT8_NAME, CARD_NAME):
        if (source / file).is_file():
            shutil.copyfile(source / file, target / file)
        else:
            (target / file).unlink(missing_ok=True)
    print(f"{new.name} is now {source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
