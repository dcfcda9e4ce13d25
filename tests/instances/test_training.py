"""Shapes that touch, of one class: trained for seconds, told apart, and used from the run."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.cli import main
from kseg.data.synthetic_objects import draw_groups, write_groups


def of_one_class(yaml):
    """Makes discs and squares one class."""
    text = yaml.read_text()
    things = "instances:\n- disc\n- square\n"
    assert things in text
    one = text.replace(things, "merge: {shape: [disc, square]}\ninstances: [shape]\n")
    yaml.write_text(one)
    return yaml


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Data, and the run of a small network that was trained on it for 96 steps."""
    folder = tmp_path_factory.mktemp("groups")
    data = kseg.load_data(of_one_class(write_groups(folder / "data", train=64, val=12, size=96)))
    network = kseg.build_panoptic_deeplab(2, backbone="separable", filters=32, weights=None)
    recipe = kseg.Recipe(
        epochs=12,
        learning_rate=1e-2,
        backbone_rate=1,
        validate_every=12,
        scale=(0.9, 1.1),
        color=0.1,
    )
    kseg.fit(network, data, recipe, run_dir=folder / "run")
    return data, folder / "run"


def test_drawn_objects_touch_and_are_whole():
    rng = np.random.default_rng(0)
    touching = 0
    for _ in range(20):
        image, label_map, ids = draw_groups(rng, 96)
        assert image.shape == (96, 96, 3) and image.dtype == np.uint8
        assert set(np.unique(ids)) == set(range(ids.max() + 1))
        np.testing.assert_array_equal(ids > 0, label_map > 0)
        for number in range(1, ids.max() + 1):
            assert len(np.unique(label_map[ids == number])) == 1
        pairs = zip((ids[1:], ids[:, 1:]), (ids[:-1], ids[:, :-1]), strict=True)
        touching += sum(((a != b) & (a > 0) & (b > 0)).any() for a, b in pairs) > 0
    assert touching > 15


def test_touching_shapes_of_one_class_are_told_apart(trained):
    data, run = trained
    model = kseg.load(run)
    assert model.kseg_things == (1,)
    scores = kseg.evaluate_instances(model, data)
    assert scores.things.pq >= 0.7 and scores.pq >= 0.8
    assert scores.tp_over_all[0.5] > 0.85
    # One object for each area is far worse: groups are what the label map shows.
    alone = kseg.evaluate_instances(lambda images: _one_center(model, images), data)
    assert alone.things.pq < 0.1 and alone.mean_iou == pytest.approx(scores.mean_iou, abs=0.01)


def test_a_model_that_does_not_fit_the_data_is_refused(trained):
    data, _ = trained

    def model(images):
        outputs = {"semantic": 3, "center": 1, "offset": 2}
        return {name: np.zeros((*images.shape[:3], n)) for name, n in outputs.items()}

    with pytest.raises(ValueError, match=r"The model has 3 classes and .* has 2 names"):
        kseg.evaluate_instances(model, data)
    model.channels = 1
    with pytest.raises(ValueError, match=r"takes images of 1 channel and those of .* have 3"):
        kseg.evaluate_instances(model, data)


def _one_center(model, images):
    found = dict(model.predict_on_batch(images))
    found["center"] = np.zeros_like(found["center"])
    found["center"][:, 48, 48] = 1
    return found


def test_a_run_is_used_at_the_command_line(trained, tmp_path, monkeypatch, capsys):
    data, run = trained
    monkeypatch.chdir(tmp_path)
    pair = data.files("val")[0]
    assert main(["predict", str(run), str(pair.image), "--save", "instances", "coco"]) == 0
    assert " x shape -> " in capsys.readouterr().out
    ids = np.asarray(Image.open(f"predictions/{pair.image.stem}.instances.png"))
    _, _, truth = data.read_instances(pair)
    assert abs(int(ids.max()) - int(truth.max())) <= 2
    coco = json.loads((tmp_path / f"predictions/{pair.image.stem}.coco.json").read_text())
    assert len(coco["annotations"]) == ids.max()
    assert [category["name"] for category in coco["categories"]] == ["ground", "shape"]
    assert main(["evaluate", str(run), str(data.source), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["things"]["pq"] >= 0.7


@pytest.mark.slow
def test_the_default_network_learns_discs_and_squares(tmp_path):
    data = kseg.load_data(write_groups(tmp_path / "data", train=96, val=16, size=96))
    keras.utils.set_random_seed(0)
    recipe = kseg.Recipe(epochs=15, freeze="c2", learning_rate=3e-3, validate_every=15)
    model = kseg.build_panoptic_deeplab(3)
    kseg.fit(model, data, recipe, run_dir=tmp_path / "run")
    scores = kseg.evaluate_instances(model, data)
    assert scores.pq >= 0.7 and scores.things.pq >= 0.6
