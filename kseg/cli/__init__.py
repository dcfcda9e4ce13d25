"""The command `kseg`."""

from kseg.cli.main import main, run

__all__ = ["main", "run"]
