"""``python -m cellrim``, for launchers such as torchrun."""

from cellrim.cli.main import run

if __name__ == "__main__":
    run()
