import gzip
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from export import KeepClusters, cluster, gzip_bytes, prune, quantization_aware, sparsity_report
from export.compression.pruning import Pruning, keeper

RECIPE = kseg.Recipe(
    epochs=4, batch_size=4, learning_rate=3e-3, backbone_rate=1, scale=(0.9, 1.1), color=0.0
)


def _copy(model):
    copy = keras.models.clone_model(keras.Model(model.inputs, model.outputs))
    copy.set_weights(model.get_weights())
    return copy


def _small(kernel):
    """Returns a model of one 1x1 convolution with this kernel, (in, out)."""
    image = keras.Input((None, None, kernel.shape[0]))
    model = keras.Model(image, layers.Conv2D(kernel.shape[1], 1, use_bias=False, name="c")(image))
    model.get_layer("c").set_weights([kernel[None, None].astype("float32")])
    return model


def _pruning(model, step, *, total, sparsity=0.5, exclude=()):
    pruning = Pruning(sparsity, exclude)
    pruning.set_model(model)
    pruning.set_params({"epochs": 1, "steps": total})
    model.compile("sgd", "mse")
    pruning.on_train_begin()
    model.optimizer.iterations.assign(step)
    pruning.on_train_batch_end(0)
    return pruning


def test_the_smallest_weights_go_and_stay_away():
    kernel = np.array([[4.0, -1.0, 3.0, -2.0]])
    model = _small(kernel)
    pruning = _pruning(model, 10, total=10)
    assert model.get_layer("c").get_weights()[0].ravel().tolist() == [4, 0, 3, 0]
    model.get_layer("c").set_weights([np.full((1, 1, 1, 4), 9.0)])  # as an optimizer would
    pruning.on_train_batch_end(1)
    assert model.get_layer("c").get_weights()[0].ravel().tolist() == [9, 0, 9, 0]


def test_the_sparsity_rises_by_a_cubic_polynomial():
    model = _small(np.arange(1, 1001.0)[None])
    # Half of the 60 % of the steps in which it rises: 1 - (1 - 0.5) ** 3 of the goal.
    _pruning(model, 30, total=100, sparsity=0.8)
    assert sparsity_report(model) == {"c": pytest.approx(0.7), "total": pytest.approx(0.7)}


def test_pruned_networks_train_on_resume_and_load(trained, data, tmp_path):
    model = _copy(trained)
    model.kseg_size = (64, 64)
    run = prune(model, data, RECIPE, run_dir=tmp_path / "run", exclude=["score_*"])
    report = sparsity_report(model)
    assert report["score_c5"] == 0
    assert report["stage5_pointwise_conv"] == pytest.approx(0.5, abs=0.01)
    assert report["stage5_depthwise_conv"] == 0
    assert 0.3 < report["total"] < 0.5
    assert kseg.evaluate(model, data).mean_iou > 0.6
    loaded = kseg.load(run, model=_copy(trained))
    assert loaded.kseg_size == model.kseg_size == (64, 64)
    assert sparsity_report(loaded) == report


def test_clusters_are_shared_values_of_int8(trained, data, tmp_path):
    model = _copy(trained)
    cluster(model, 8)
    recipe = replace(RECIPE, epochs=1)
    kseg.fit(model, data, recipe, run_dir=tmp_path / "run", callbacks=[KeepClusters()])
    cluster(model, 8)  # what averaging moved
    kernel = model.get_layer("stage5_pointwise_conv").get_weights()[0]
    original = trained.get_layer("stage5_pointwise_conv").get_weights()[0]
    int8 = np.rint(127 * kernel / np.abs(kernel).max((0, 1, 2)))
    assert len(np.unique(int8)) <= 8
    assert {0, 127} <= set(np.unique(np.abs(int8)))
    assert np.corrcoef(kernel.ravel(), original.ravel())[0, 1] > 0.97


def test_clustering_by_hand():
    model = _small(np.array([[1.0, 20.0], [0.52, -10.2], [0.48, 9.8], [0.0, 0.0]]))
    cluster(model, 5)  # -1, 0, 1 and two of its own, of weights divided by 1 and by 20
    kernel = model.get_layer("c").get_weights()[0][0, 0]
    np.testing.assert_allclose(kernel, [[1, 20], [0.497, -10.2], [0.497, 9.93], [0, 0]], atol=0.01)


def test_keeping_clusters_takes_means_by_hand():
    kernel = np.array([[1.0, -2.0], [0.5, 1.0], [0.5, 0.0]])[None, None]
    project = keeper(kernel, "Conv2D", "clusters")
    moved = np.array([[2.0, -4.0], [0.8, 2.4], [1.4, 0.3]])[None, None]
    # Scales 2 and 4; the members of 0.5 are 0.4, 0.6 and 0.7.
    mean = (0.4 + 0.6 + 0.7) / 3
    expected = [[2, -4], [2 * mean, 4 * mean], [2 * mean, 0]]
    np.testing.assert_allclose(project(moved)[0, 0], expected, rtol=1e-6)
    assert keeper(kernel, "Conv2D", "sparsity")(moved)[0, 0].tolist()[2] == [1.4, 0]


def test_gzip_bytes_are_those_of_gzip(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(bytes(1000) + np.random.default_rng(0).bytes(500))
    assert gzip_bytes(path) < 600
    assert gzip_bytes(path) == len(gzip.compress(path.read_bytes(), 9))


def test_bad_arguments_are_a_sentence(data, tmp_path):
    model = _small(np.ones((3, 3)))
    for share in (0, 1, -0.5):
        with pytest.raises(ValueError, match=r"sparsity must be above 0 and below 1; got"):
            prune(model, data, RECIPE, run_dir=tmp_path / "run", sparsity=share)
    with pytest.raises(ValueError, match=r"exclude names 'x\*', .* the layers are c\."):
        prune(model, data, RECIPE, run_dir=tmp_path / "run", exclude=["x*"])
    with pytest.raises(ValueError, match="clusters must be from 4 to 256; got 3"):
        cluster(model, 3)
    with pytest.raises(ValueError, match=r"has 400 different values in it; cluster the network"):
        keeper(np.arange(400.0).reshape(1, 1, 400, 1) + 400, "Conv2D", "clusters")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["sparsity", "clusters"])
def test_quantization_aware_training_keeps(keep, trained, data, tmp_path):
    model = _copy(trained)
    if keep == "sparsity":
        prune(model, data, RECIPE, run_dir=tmp_path / "run")
    else:
        cluster(model, 16)
    quantized = quantization_aware(model, data, replace(RECIPE, epochs=1), keep=keep)
    kernel = quantized.state.weights["k_stage5_pointwise_conv"][0]
    int8 = np.rint(127 * kernel / np.abs(kernel).max((0, 1, 2)))
    if keep == "sparsity":
        assert (kernel == 0).mean() == pytest.approx(0.5, abs=0.01)
    else:
        assert len(np.unique(np.abs(int8))) <= 16
