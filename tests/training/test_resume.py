"""A run that is stopped and resumed ends where it would have ended."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.training.callbacks import Keeper
from kseg.training.checkpoints import read_checkpoint
from kseg.training.run import open_run

QUICK = kseg.Recipe(epochs=1, batch_size=4)


def stop_after(monkeypatch, steps):
    """Lets training end as by Ctrl-C after some steps."""
    original = Keeper.on_train_batch_end
    done = []

    def stop(self, batch, logs=None):
        original(self, batch, logs)
        done.append(batch)
        if len(done) == steps:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keeper, "on_train_batch_end", stop)


def assert_equal_runs(path, other):
    _, manifest, groups = read_checkpoint(path)
    _, other_manifest, other_groups = read_checkpoint(other)
    assert groups.keys() == other_groups.keys() == {"model", "average", "optimizer"}
    for name, arrays in groups.items():
        for array, other_array in zip(arrays, other_groups[name], strict=True):
            np.testing.assert_array_equal(array, other_array, err_msg=name)
    for row, other_row in zip(manifest["history"], other_manifest["history"], strict=True):
        assert {**row, "seconds": 0} == {**other_row, "seconds": 0}
    assert manifest["average_steps"] == other_manifest["average_steps"]


def test_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    tmp_path, training_data, recipe, trained, build_small, monkeypatch, recorded
):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 6)  # in the second epoch of three, of four steps each
        with pytest.raises(KeyboardInterrupt):
            kseg.fit(build_small(), training_data, recipe, run_dir=path)
    recorded.numbers.clear()
    model = build_small(seed=99)  # its own weights must not matter
    kseg.fit(model, training_data, recipe, run_dir=path, resume=True)
    assert_equal_runs(path, trained[1].path)
    for weight, expected in zip(model.get_weights(), trained[0].get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert min(recorded.numbers) == 4


def test_interrupted_with_val_run_resumes_bit_for_bit(
    tmp_path, training_data, own_model, monkeypatch
):
    recipe = kseg.Recipe(epochs=2, batch_size=4, with_val=True, deterministic=True)
    keras.utils.set_random_seed(0)
    kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path / "whole")
    keras.utils.set_random_seed(0)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)  # in the second epoch, of three steps
        with pytest.raises(KeyboardInterrupt):
            kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path / "run")
    kseg.fit(own_model(), training_data, recipe, run_dir=tmp_path / "run", resume=True)
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")


def test_run_stopped_in_its_first_epoch_begins_anew(
    tmp_path, training_data, own_model, monkeypatch
):
    recipe, model = replace(QUICK, epochs=2, deterministic=True), own_model()
    start = model.get_weights()
    kseg.fit(model, training_data, recipe, run_dir=tmp_path / "whole")
    model.set_weights(start)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            kseg.fit(model, training_data, recipe, run_dir=tmp_path / "stopped")
    model.set_weights(start)
    run = kseg.fit(model, training_data, recipe, run_dir=tmp_path / "stopped", resume=True)
    assert_equal_runs(tmp_path / "stopped", tmp_path / "whole")
    assert json.loads(json.dumps(run.record)) == open_run(run.path).record


def test_finished_run_resumes_to_itself(tmp_path, trained, training_data, recipe, build_small):
    path = tmp_path / "run"
    shutil.copytree(trained[1].path, path)
    model = build_small(seed=5)
    kseg.fit(model, training_data, recipe, run_dir=path, resume=True)
    assert_equal_runs(path, trained[1].path)
    for weight, expected in zip(model.get_weights(), trained[0].get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_damaged_weights_are_passed_over_with_a_warning(tmp_path, trained):
    path = tmp_path / "run"
    shutil.copytree(trained[1].path, path)
    last = max((path / "checkpoints").iterdir())
    (last / "weights.h5").write_bytes((last / "weights.h5").read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=r"weights\.h5 is damaged, so it is passed over"):
        model = kseg.load(path, checkpoint="last")
    shutil.rmtree(last)
    _, manifest, groups = read_checkpoint(path)
    assert manifest["epoch"] == 2
    for variable, value in zip(model.variables, groups["average"], strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory, training_data, own_model):
    """A finished run of one epoch of a small network of the user's own."""
    path = tmp_path_factory.mktemp("own") / "run"
    kseg.fit(own_model(), training_data, QUICK, run_dir=path)
    return path


def test_another_recipe_is_refused_with_what_differs(own_run, training_data, own_model):
    recipe = replace(QUICK, learning_rate=0.5, seed=3)
    match = r"was begun with another recipe \(seed, learning_rate\); resume with the same"
    with pytest.raises(ValueError, match=match):
        kseg.fit(own_model(), training_data, recipe, run_dir=own_run, resume=True)


def test_another_network_is_refused(own_run, training_data, build_small, own_model):
    with pytest.raises(ValueError, match="was begun with another network"):
        kseg.fit(build_small(), training_data, QUICK, run_dir=own_run, resume=True)


def test_another_network_without_spec_is_refused(own_run, tmp_path, training_data, own_model):
    model = own_model()
    wider = keras.Model(model.input, keras.layers.Conv2D(3, 1)(model.output))
    bent = keras.Model(model.input, keras.layers.Activation("tanh")(model.output))
    for other in (wider, bent):  # this one has the same weights
        with pytest.raises(ValueError, match=r"another network, teacher or loss \(network\)"):
            kseg.fit(other, training_data, QUICK, run_dir=own_run, resume=True)
    older = shutil.copytree(own_run, tmp_path / "older")  # from before there were digests
    record = json.loads((older / "run.json").read_text())
    del record["digests"], record["checksum"]
    (older / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="holds the weights of another network"):
        kseg.fit(wider, training_data, QUICK, run_dir=older, resume=True)


def test_another_teacher_of_the_same_name_is_refused(tmp_path, training_data, own_model):
    teachers = []
    for seed in (1, 2, 1):
        keras.utils.set_random_seed(seed)
        teachers.append(own_model())
        teachers[-1].name = "teacher"
    first, other, again = teachers
    kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path / "run", teacher=first)
    resumed = {"run_dir": tmp_path / "run", "resume": True}
    with pytest.raises(ValueError, match=r"\(teacher\); resume with the same"):
        kseg.fit(own_model(), training_data, QUICK, teacher=other, **resumed)
    kseg.fit(own_model(), training_data, QUICK, teacher=again, **resumed)


def test_a_loss_with_other_options_is_refused(tmp_path, training_data, own_model):
    one, two = (keras.losses.CategoricalFocalCrossentropy(gamma=gamma) for gamma in (2.0, 0.0))
    kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path / "run", loss=one)
    resumed = {"run_dir": tmp_path / "run", "resume": True}
    with pytest.raises(ValueError, match=r"\(loss\); resume with the same"):
        kseg.fit(own_model(), training_data, QUICK, loss=two, **resumed)
    kseg.fit(own_model(), training_data, QUICK, loss=one, **resumed)


def test_changed_data_is_refused(own_run, tmp_path, training_data, own_model):
    shutil.copytree(training_data.source.parent, tmp_path / "data")
    path = tmp_path / "data/images/0.png"
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    data = kseg.load_data(tmp_path / "data/data.yaml")
    with pytest.raises(ValueError, match=r"was begun with another data set \(fingerprint\)"):
        kseg.fit(own_model(), data, QUICK, run_dir=own_run, resume=True)


def test_moved_data_is_the_same_data(own_run, tmp_path, training_data, own_model):
    shutil.copytree(training_data.source.parent, tmp_path / "moved")
    data = kseg.load_data(tmp_path / "moved/data.yaml")
    kseg.fit(own_model(), data, QUICK, run_dir=own_run, resume=True)


def test_run_from_before_an_option_was_added_resumes(own_run, tmp_path, training_data, own_model):
    shutil.copytree(own_run, tmp_path / "older")
    record = json.loads((tmp_path / "older/run.json").read_text())
    del record["asked"]["with_val"], record["asked"]["loss"], record["loss"], record["checksum"]
    (tmp_path / "older/run.json").write_text(json.dumps(record))
    kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path / "older", resume=True)


def test_run_from_before_logits_were_adjusted_goes_on_without(
    own_run, tmp_path, training_data, own_model
):
    older = shutil.copytree(own_run, tmp_path / "older")
    record = json.loads((older / "run.json").read_text())
    del record["asked"]["logit_adjustment"], record["recipe"]["logit_adjustment"]
    del record["checksum"]
    (older / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"begun with another recipe \(logit_adjustment\)"):
        kseg.fit(own_model(), training_data, QUICK, run_dir=older, resume=True)
    recipe = replace(QUICK, logit_adjustment=0.0)
    run = kseg.fit(own_model(), training_data, recipe, run_dir=older, resume=True)
    assert run.record["asked"]["logit_adjustment"] == 0


def test_refused_resume_changes_nothing(own_run, training_data, own_model):
    before = {path: path.stat().st_mtime_ns for path in own_run.rglob("*") if path.is_file()}
    before.pop(own_run / "run.lock")
    with pytest.raises(ValueError, match="was begun with another recipe"):
        kseg.fit(own_model(), training_data, replace(QUICK, seed=9), run_dir=own_run, resume=True)
    after = {path: path.stat().st_mtime_ns for path in own_run.rglob("*") if path.is_file()}
    after.pop(own_run / "run.lock")
    assert before == after


def test_resuming_where_nothing_was_begun_begins(tmp_path, training_data, own_model):
    kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path / "run", resume=True)
    assert read_checkpoint(tmp_path / "run")[1]["epoch"] == 1


def test_unreadable_record_is_refused(tmp_path, training_data, own_model):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is not a kseg run folder"):
        kseg.fit(own_model(), training_data, QUICK, run_dir=tmp_path, resume=True)


def test_a_layer_whose_options_keras_does_not_know_resumes(tmp_path, training_data, own_model):
    class Through(keras.layers.Layer):
        def __init__(self, what):
            super().__init__()
            self.what = what

        def call(self, x):
            return x

    with pytest.raises(NotImplementedError):
        Through(object()).get_config()
    for resume in (False, True):
        model = own_model()
        model = keras.Model(model.input, Through(object())(model.output))
        kseg.fit(model, training_data, QUICK, run_dir=tmp_path / "run", resume=resume)
