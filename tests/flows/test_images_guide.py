"""The code of docs/images.md runs as it stands."""

import re
from pathlib import Path

import numpy as np
import tifffile

from cellrim.io.images import read_image
from cellrim.samples import sample_images

GUIDE = Path(__file__).parents[2] / "docs" / "images.md"


def test_the_python_of_the_guide(tmp_path, monkeypatch, capsys):
    [code] = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    plane = read_image(sample_images()[0]).pixels[:128, :128, 0]
    frames = np.stack([plane, np.roll(plane, 2, axis=1)])
    tifffile.imwrite(
        tmp_path / "movie.ome.tif", frames, metadata={"axes": "TYX"}, photometric="minisblack"
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, GUIDE, "exec"), {})
    assert "T (2,)" in capsys.readouterr().out
    labels = tifffile.imread(tmp_path / "labels.tif")
    assert labels.shape == frames.shape
    assert labels[0].max() > 1
    assert len(np.intersect1d(labels[0], labels[1])) > 2
    assert (tmp_path / "movie_RES" / "res_track.txt").is_file()
