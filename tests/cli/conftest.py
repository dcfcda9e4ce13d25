import pytest

from kseg.cli import main


@pytest.fixture(scope="session")
def data_yaml(tmp_path_factory, write_rectangles):
    return write_rectangles(tmp_path_factory.mktemp("cli") / "data", [(64, 64)] * 16, val=4)


@pytest.fixture(scope="session")
def run(tmp_path_factory, data_yaml):
    path = tmp_path_factory.mktemp("run") / "run"
    arguments = ["--backbone", "separable", "--weights", "none", "--batch-size", "4"]
    arguments += ["--epochs", "20", "--validate-every", "20", "--learning-rate", "0.01"]
    assert main(["train", str(data_yaml), *arguments, "--out", str(path)]) == 0
    return path
