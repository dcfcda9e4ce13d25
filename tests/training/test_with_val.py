import csv

import numpy as np
from PIL import Image

import kseg
from kseg.losses import LOSSES
from kseg.training import fitting, timing
from kseg.training.checkpoints import read_checkpoint


def test_with_val_trains_on_all_images_and_the_last_weights_are_best(
    tmp_path, training_data, own_model, monkeypatch
):
    recipe = kseg.Recipe(epochs=2, batch_size=4, with_val=True)
    split = fitting.training_split(training_data, recipe)
    assert set(split.pairs) == {*training_data.files("train"), *training_data.files("val")}
    pixels = []
    make_loss = fitting.make_loss
    monkeypatch.setattr(
        fitting,
        "make_loss",
        lambda *arguments: [pixels.append(arguments[-1]), make_loss(*arguments)][-1],
    )
    kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path)
    counts = [
        np.bincount(training_data.read(pair)[1].ravel(), minlength=256) for pair in split.pairs
    ]
    np.testing.assert_array_equal(pixels[0], np.sum(counts, 0)[: training_data.classes.num_classes])
    with (tmp_path / "history.csv").open() as file:
        assert [row["mean_iou"] for row in csv.DictReader(file)] == ["", ""]
    assert read_checkpoint(tmp_path, "best")[0] == read_checkpoint(tmp_path, "last")[0]
    with Image.open(tmp_path / "curves.png") as picture:
        picture.verify()


def test_minutes_with_val_need_no_validation(training_data, own_model, monkeypatch):
    """Nothing will be scored, so the plan of a training by minutes times no image."""
    monkeypatch.setattr(timing.Clock, "step_seconds", lambda clock: 0.5)
    monkeypatch.setattr(timing, "predict", None)
    recipe = kseg.Recipe(minutes=0.75, batch_size=4, with_val=True)
    loss = LOSSES["cross_entropy"](None, 0.0, 0.0)
    speed = timing.measure(own_model(), training_data, recipe, loss)
    assert (speed.step, speed.image) == (0.5, 0.0)
