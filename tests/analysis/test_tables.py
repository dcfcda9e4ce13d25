"""The table of networks in docs/networks.md is what the command prints today."""

from pathlib import Path

import pytest

from kseg.analysis import costs_table, describe_networks
from kseg.models import MODELS

PAGE = Path(__file__).parents[2] / "docs/networks.md"
MEND = "docs/networks.md is old; put the output of `kseg models --costs` between its two marks"


def _table():
    text = PAGE.read_text(encoding="utf-8")
    return text.split("<!-- kseg models --costs -->\n")[1].split("<!-- end of the table -->")[0]


def _cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()]


def test_page_has_every_network():
    names = [row[0] for row in _cells(_table())[2:]]
    assert names == list(MODELS), MEND


@pytest.mark.parametrize("name", ["fcn8s", "encoder_decoder"])
def test_rows_of_the_page_are_what_is_counted_today(name):
    head, _, row = _cells(costs_table(describe_networks([name])))
    found = _cells(_table())
    assert found[0] == head, MEND
    assert row in found, MEND


@pytest.mark.slow
def test_table_of_the_page_is_what_is_counted_today():
    assert _table().strip() == costs_table(describe_networks()).strip(), MEND
