import numpy as np
import pytest

from cellrim.evaluation.compare import CompareOptions, evaluate
from cellrim.evaluation.html import WORST, write_html
from cellrim.evaluation.report import curves_of
from cellrim.io.labels import write_labels
from cellrim.report.page import read_cards


def labels_of(count):
    labels = np.zeros((40, 60), np.int32)
    for i in range(count):
        labels[4:12, 4 + 9 * i : 11 + 9 * i] = i + 1
    return labels


@pytest.fixture
def evaluation(tmp_path):
    for name, found in (("a", 3), ("b", 1), ("c", 4)):
        write_labels(tmp_path / "predicted" / f"{name}_labels.tif", labels_of(found))
        write_labels(tmp_path / "truth" / f"{name}.tif", labels_of(3))
    write_labels(tmp_path / "truth" / "<d>.tif", labels_of(3))
    return evaluate(
        tmp_path / "predicted", tmp_path / "truth", options=CompareOptions(resamples=20)
    )


def test_the_worst_images_come_first_with_their_mistakes(tmp_path, evaluation):
    write_html(evaluation, tmp_path / "r.html", curves=curves_of(evaluation))
    cards = read_cards(tmp_path / "r.html")
    assert [card["name"] for card in cards] == ["truth: b", "truth: c", "truth: a"]
    assert cards[0]["facts"]["missed"] == "2"
    assert cards[1]["facts"]["invented"] == "1"
    assert list(cards[0]["picture"]["layers"]) == ["truth", "predicted"]
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "&lt;d&gt;: There is no prediction" in text
    assert "<polyline" in text
    for word in ("missed", "invented", "split", "merged"):
        assert f"{word}: " in text


def test_a_file_that_is_gone_meanwhile_is_said(tmp_path, evaluation):
    (tmp_path / "predicted" / "b_labels.tif").unlink()
    write_html(evaluation, tmp_path / "r.html", curves=curves_of(evaluation))
    first = read_cards(tmp_path / "r.html")[0]
    assert first["picture"] is None
    assert "b_labels.tif" in first["sentences"][0]


def test_real_images_are_shown(tmp_path, real_data):
    from cellrim.datasets import open_dataset

    root = real_data / "seed" / "BBBC009"
    samples = [s for s in open_dataset(root).samples if s.read_truth is not None][:1]
    for sample in samples:
        write_labels(tmp_path / "p" / f"{sample.name}.tif", sample.read_truth().labels)
    evaluation = evaluate(tmp_path / "p", root, options=CompareOptions(partial=True, resamples=10))
    assert evaluation.images
    assert not evaluation.problems
    write_html(evaluation, tmp_path / "r.html", curves=curves_of(evaluation))
    cards = read_cards(tmp_path / "r.html")
    assert len(cards) == min(WORST, len(evaluation.images))
    assert cards[0]["picture"]["width"] > 300
