"""Make a trained model the embedded default, if it is better on the fixed validation split.

Usage: CELLRIM_DATA=path/to/data python scripts/promote_model.py runs/general/model [NAME]

Every validation image is segmented by both models, as users run them, in its eight orientations:
the score of a single look moves by more than models differ (docs/decisions/0019-better.md). The
networks and card.json are copied into the package only if the mean has risen: over the sets and the
orientations, of (AP50 + mAP) / 2, and of F1 where boxes are compared. The new card says so
(``replaced``). A new card of the same network, with other decode options for example, is taken if
the mean has not fallen. Exit code 1 if the old model stays. Takes about five minutes on two cores.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec

from cellrim.models.card import (
    CARD_NAME,
    INT8_NAME,
    ONNX_NAME,
    ModelCard,
    Replaced,
    read_card,
    write_card,
)

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "src" / "cellrim" / "models" / "embedded"


def main() -> int:
    source = Path(sys.argv[1])
    new = read_card(source / CARD_NAME)
    target = EMBEDDED / (sys.argv[2] if len(sys.argv) > 2 else new.name)
    old = read_card(target / CARD_NAME) if (target / CARD_NAME).is_file() else None
    if old is not None and old.validation:  # one that was never measured is no rival
        if set(old.validation) - set(new.validation):
            print(f"The validation sets differ: {sorted(old.validation)}, {sorted(new.validation)}")
            return 1
        replaced = compared(target, old, source)
        gain = replaced.score - replaced.score_before
        same = new.sha256 == old.sha256
        if gain < 0 or (gain == 0 and not same):
            print("The old model stays: the new one is not better.")
            return 1
        new = msgspec.structs.replace(new, replaced=old.replaced if same else replaced)
    target.mkdir(parents=True, exist_ok=True)
    for file in (ONNX_NAME, INT8_NAME):
        if (source / file).is_file():
            shutil.copyfile(source / file, target / file)
        else:
            (target / file).unlink(missing_ok=True)
    write_card(target / CARD_NAME, new)
    print(f"{new.name} is now {source}")
    return 0


def compared(old: Path, card: ModelCard, new: Path) -> Replaced:
    """Both models, over the eight orientations of the validation images."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from orientations import compare_models, make_views, standard_error

    views = make_views(1)
    before, after = compare_models(old, new, views)
    return Replaced(
        sha256=card.sha256,
        views=len(views),
        score_before=float(before.mean()),
        score=float(after.mean()),
        standard_error=standard_error(after - before),
    )


if __name__ == "__main__":
    sys.exit(main())
