"""For each case of the corpus: the values that must come out, or the sentence."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from corpus import CASES, table
from corpus.base import written

from kseg.data import check_data, load_data


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_case(case, tmp_path):
    path = written(case, tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if case.refused is not None:
            with pytest.raises(ValueError) as error:
                check_data(load_data(path), ["train"])
            assert case.refused in str(error.value)
            assert "root:x" not in str(error.value)
            return
        data = load_data(path)
        check_data(data, ["train"])
        (pair,) = data.files("train")
        image, label_map = data.read(pair)
    texts = [str(one.message) for one in said]
    if case.said is None:
        assert not texts
    else:
        assert any(case.said in text for text in texts), texts
    if case.expect is not None:
        np.testing.assert_array_equal(label_map, case.expect)
        assert label_map.dtype == np.uint8
    if case.picture is not None:
        np.testing.assert_array_equal(image, case.picture)


def test_there_are_enough_cases_with_names_of_their_own():
    titles = [case.title for case in CASES]
    assert len(set(titles)) == len(titles) >= 90


def test_the_table_in_the_docs_is_that_of_the_corpus():
    docs = Path(__file__).parents[2] / "docs/your_data.md"
    assert re.sub(r"\s+", " ", table()) in re.sub(r"\s+", " ", docs.read_text(encoding="utf-8"))
