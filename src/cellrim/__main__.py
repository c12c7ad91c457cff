"""``python -m cellrim`` is the command ``cellrim``."""

from cellrim.cli.main import run

if __name__ == "__main__":
    run()
