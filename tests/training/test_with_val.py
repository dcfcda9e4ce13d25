import csv
import importlib

import numpy as np
from PIL import Image

import kseg
from kseg.training.run import read_checkpoint


def test_with_val_trains_on_all_photos_and_the_last_weights_are_best(
    tmp_path, training_data, own_model, monkeypatch
):
    module = importlib.import_module("kseg.training.fit")  # kseg.training.fit is the function
    recipe = kseg.Recipe(epochs=2, batch_size=4, with_val=True)
    split = module.training_split(training_data, recipe)
    assert set(split.pairs) == {*training_data.files("train"), *training_data.files("val")}
    pixels = []
    compile_model = module.compile_model
    monkeypatch.setattr(
        module,
        "compile_model",
        lambda *arguments: [pixels.append(arguments[-1]), compile_model(*arguments)],
    )
    kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path)
    counts = [
        np.bincount(training_data.read(pair)[1].ravel(), minlength=256) for pair in split.pairs
    ]
    np.testing.assert_array_equal(
        pixels[0], np.sum(counts, 0)[: training_data.label_map.num_classes]
    )
    with (tmp_path / "history.csv").open() as file:
        assert [row["mean_iou"] for row in csv.DictReader(file)] == ["", ""]
    assert read_checkpoint(tmp_path, "best")[0] == read_checkpoint(tmp_path, "last")[0]
    with Image.open(tmp_path / "curves.png") as picture:
        picture.verify()
