"""`python -m kseg`: the command line, where its script is not on the path."""

from kseg.cli import run

if __name__ == "__main__":
    run()
