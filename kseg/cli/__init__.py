"""The command `kseg`."""

from kseg.cli.app import main, run

__all__ = ["main", "run"]
