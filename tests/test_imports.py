import importlib
import inspect
import json
import os
import pkgutil
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import kseg
from kseg.models import MODELS


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


def test_the_stub_has_every_network_of_the_table():
    script = runpy.run_path(str(Path(__file__).parents[1] / "scripts/stub.py"))
    text = Path(kseg.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    assert sorted(script["stub"](text).splitlines()) == sorted(text.splitlines()), (
        "kseg/__init__.pyi is old; run `make format`"
    )
    builders = {name for name in dir(kseg) if name.startswith("build_")}
    assert builders == {f"build_{name}" for name in MODELS}
    for name, builder in MODELS.items():
        assert getattr(kseg, f"build_{name}") is builder and builder.__name__ == f"build_{name}"


def test_tables_of_names_are_read_without_keras():
    code = """
import sys
from kseg.backbones import BACKBONES
from kseg.models import MODELS
assert "fcn8s" in list(MODELS) and "vgg16" in BACKBONES and "atrous" not in MODELS
assert not {"keras", "numpy"} & set(sys.modules)
"""
    python(code)


# One architecture's model and its decoder share a name, on two floors.
TWINS = {"atrous_fpn", "deeplab", "fcn", "linknet", "lraspp"}


def test_no_two_modules_of_one_name_and_none_that_a_name_hides():
    modules = [m.name for m in pkgutil.walk_packages(kseg.__path__, "kseg.")]
    modules = [name for name in modules if not name.startswith("kseg.cli")]
    counts = Counter(name.rpartition(".")[2] for name in modules)
    assert {name for name, count in counts.items() if count > 1} == TWINS
    for name in modules:
        package, _, last = name.rpartition(".")
        module = importlib.import_module(name)
        assert getattr(importlib.import_module(package), last) is module, name


def test_no_two_classes_of_one_name():
    homes = {}
    for found in pkgutil.walk_packages(kseg.__path__, "kseg."):
        for name, value in vars(importlib.import_module(found.name)).items():
            if inspect.isclass(value) and value.__module__ == found.name and name[0] != "_":
                homes.setdefault(name, []).append(found.name)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No kseg attribute fcn"):
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
    assert "export" not in modules
