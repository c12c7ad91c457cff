from click.testing import CliRunner

from cellrim.cli.main import app


def test_shows_what_is_installed(tmp_path, make_tiny_model, monkeypatch):
    make_tiny_model(tmp_path / "tiny")
    monkeypatch.setattr(
        "cellrim.models.registry.embedded_models", lambda *_: {"tiny": tmp_path / "tiny"}
    )
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    for word in ("cellrim", "Python", "numpy", "onnxruntime", "Threads", "CPUExecutionProvider"):
        assert word in result.output
    assert "tiny 1: " in result.output
    assert "verified" in result.output

    (tmp_path / "tiny" / "model.onnx").write_bytes(b"other")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "broken" in result.output
