"""The command `kseg`."""

from kseg.cli.main import main

__all__ = ["main"]
