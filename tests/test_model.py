"""The networks: shapes, sizes worked out by hand, gradients, learning, saving."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from model import CHARACTERS, INPUT_SHAPE, MODELS, N_CLASSES
from normalization import BatchNormalization

every_model = pytest.mark.parametrize("name", MODELS)


def images_and_labels(count, n_classes=N_CLASSES):
    generator = np.random.default_rng(0)
    images = generator.random((count, *INPUT_SHAPE), np.float32)
    return images, np.arange(count) % n_classes


def test_characters_are_emnist_byclass():
    assert len(CHARACTERS) == len(set(CHARACTERS)) == N_CLASSES == 62
    assert (CHARACTERS[0], CHARACTERS[10], CHARACTERS[36], CHARACTERS[61]) == ("0", "A", "a", "z")


@every_model
@pytest.mark.parametrize("n_classes", [62, 42, 10])
def test_output_is_one_probability_a_class(name, n_classes):
    network = MODELS[name](INPUT_SHAPE, n_classes, 0.5)
    answer = network(images_and_labels(3)[0], training=False)
    assert answer.shape == (3, n_classes)
    assert answer.dtype == "float32"
    np.testing.assert_allclose(np.sum(answer, axis=1), 1, rtol=1e-5)


@every_model
def test_softmax_stays_float32_in_mixed_precision(name):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = MODELS[name]()
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert network(images_and_labels(2)[0], training=False).dtype == "float32"
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}


def convolution(size, channels, filters):
    return (size * size * channels + 1) * filters


def dense(units_in, units_out):
    return (units_in + 1) * units_out


SIZES = {
    "LeNet": convolution(3, 1, 32)
    + convolution(3, 32, 64)
    + convolution(3, 64, 64)
    + dense(7 * 7 * 64, 80)  # 28 halved twice
    + dense(80, 62),
    "AlexNet": convolution(11, 1, 96)
    + convolution(5, 96, 256)
    + convolution(3, 256, 384)
    + convolution(3, 384, 384)
    + convolution(3, 384, 256)
    + dense(256, 2048)
    + dense(2048, 2048)
    + dense(2048, 62),
    "VGG16": convolution(3, 1, 64)
    + convolution(3, 64, 64)
    + convolution(3, 64, 128)
    + convolution(3, 128, 128)
    + convolution(3, 128, 256)
    + convolution(3, 256, 256)
    + convolution(1, 256, 256)
    + convolution(3, 256, 512)
    + convolution(3, 512, 512)
    + convolution(1, 512, 512)
    + 2 * convolution(3, 512, 512)
    + convolution(1, 512, 512)
    + dense(512, 1024)
    + dense(1024, 128)
    + dense(128, 62),
    "ResNet": convolution(3, 1, 32)
    + convolution(3, 32, 64)
    + 10 * 2 * (convolution(3, 64, 64) + 4 * 64)  # normalisation: scale, shift, mean, variance
    + convolution(3, 64, 64)
    + dense(64, 256)
    + dense(256, 62),
}


@every_model
def test_dropout_is_a_layer_before_the_softmax_and_no_learning_rate(name):
    network = MODELS[name](dropout=0.25)
    rates = [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert {*rates} == {0.25} and isinstance(network.layers[-2], keras.layers.Dropout)
    assert float(network.optimizer.learning_rate) == pytest.approx(1e-3)


@every_model
def test_number_of_parameters(name):
    assert MODELS[name]().count_params() == SIZES[name]


def test_resnet_is_ten_blocks_and_831998_parameters():
    network = MODELS["ResNet"]()
    assert sum(isinstance(layer, keras.layers.Add) for layer in network.layers) == 10
    assert network.count_params() == 831_998


def test_it_is_the_same_whatever_the_user_s_settings_of_keras(tmp_path):
    """Which other programs' networks may need: ~/.keras/keras.json."""
    others = {"image_data_format": "channels_first", "floatx": "float16"}
    (tmp_path / "keras.json").write_text(json.dumps(others))
    code = (
        "import model; network = model.ResNet_inference(); "
        "print(network.count_params(), *{str(variable.dtype) for variable in network.weights}, "
        "network.compute_dtype, network.metrics[0].dtype)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "831998 float32 float32 float32\n", done.stderr


@every_model
def test_every_variable_gets_a_finite_gradient(name):
    tf = pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(0)
    network = MODELS[name](INPUT_SHAPE, 42, 0.0)
    images, labels = images_and_labels(16, 42)
    with tf.GradientTape() as tape:
        answer = network(images, training=True)
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, answer))
    gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
    for variable, gradient in zip(network.trainable_variables, gradients):
        assert gradient is not None, f"{name}: no gradient reaches {variable.path}"
        assert np.isfinite(gradient).all(), f"{name}: {variable.path}"
        assert np.any(gradient), f"{name}: the gradient of {variable.path} is zero"


@every_model
def test_compiled_with_adam_and_accuracy_it_learns_one_batch_by_heart(name):
    keras.utils.set_random_seed(1)
    network = MODELS[name](INPUT_SHAPE, 4, 0.0)
    assert isinstance(network.optimizer, keras.optimizers.Adam)
    assert network.loss == "sparse_categorical_crossentropy"
    network.optimizer.learning_rate = 3e-4
    network.run_eagerly = True  # making a graph of ResNet takes longer than these few steps
    images, labels = images_and_labels(4, 4)
    losses = []
    while not losses or losses[-1] > 0.5 * losses[0]:
        assert len(losses) < 60
        measured = network.train_on_batch(images, labels, return_dict=True)
        assert set(measured) == {"loss", "accuracy"}
        losses.append(measured["loss"])


@every_model
def test_saved_weights_give_the_same_answers(name, tmp_path):
    images, _ = images_and_labels(3)
    first, second = MODELS[name](), MODELS[name]()
    first.save_weights(tmp_path / "x.weights.h5")
    second.load_weights(tmp_path / "x.weights.h5")
    np.testing.assert_array_equal(first(images, training=False), second(images, training=False))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_batch_normalization_in_one_pass_is_keras_own(policy):
    import tensorflow as tf

    values = np.random.default_rng(0).normal(2, 3, (32, 8, 8, 16)).astype("float32")
    results = []
    for kind, options in (
        (keras.layers.BatchNormalization, {"momentum": 0.95}),
        (BatchNormalization, {}),
    ):
        layer = kind(**options, dtype=keras.DTypePolicy(policy))
        layer.build((None, 8, 8, 16))
        layer.gamma.assign(np.linspace(0.5, 2, 16))
        inputs = tf.Variable(values)
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 3)
        gradients = tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])
        layer.trainable = False
        layer(inputs, training=True)
        averages = [layer.moving_mean, layer.moving_variance]
        answers = layer(inputs, training=False)
        results.append([np.float32(x) for x in (outputs, *gradients, *averages, answers)])
    tolerance = 1e-4 if policy == "float32" else 2e-2  # bfloat16 has 8 bits
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
