import json
import os
import subprocess
import sys

import pytest

import kseg


def python(code, **env):
    """Runs code in a fresh interpreter and returns its finished process."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **env},
    )


def test_import_prints_nothing_sets_nothing_and_loads_nothing_heavy():
    code = """
import os, sys
before = dict(os.environ)
import kseg
assert dict(os.environ) == before
heavy = {"keras", "tensorflow", "jax", "torch", "numpy", "PIL", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = python(code)
    assert (done.stdout, done.stderr) == ("", "")


def test_names_are_found_listed_and_documented():
    assert set(kseg.__all__) <= set(dir(kseg))
    for name in kseg.__all__:
        value = getattr(kseg, name)
        assert name == "MODELS" or value.__doc__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'kseg' has no attribute 'fcn'"):
        kseg.fcn  # noqa: B018


def test_torch_and_litert_are_not_imported_by_training():
    code = """
import json, sys
import kseg
for name in kseg.__all__:
    getattr(kseg, name)
print(json.dumps(sorted(sys.modules)))
"""
    modules = set(json.loads(python(code).stdout))
    assert not {"torch", "tf_keras", "tensorflow_model_optimization", "ai_edge_litert"} & modules
    assert "export" not in modules and "kseg.training._tensorflow" not in modules
