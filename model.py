"""The networks: four convolutional classifiers for 28x28 pictures of single characters.

    python model.py          # prints the summary of all four

Everything else imports from here what a picture and a class are: INPUT_SHAPE,
CHARACTERS and MODELS, the table from a model's name to the function that builds it.
Only `keras` and plain arithmetic: any Keras 3 backend can run these networks.
"""

import keras
from keras import layers

from normalization import BatchNormalization

# Whatever ~/.keras/keras.json says; with a floatx of 16 bits even Keras's counts overflow.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")

INPUT_SHAPE = (28, 28, 1)  # height, width, grey; float32 in [0, 1], white ink on black, upright
# EMNIST ByClass order: class 0 is "0", class 10 "A", class 36 "a".
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
N_CLASSES = len(CHARACTERS)  # 62


def LeNet_inference(input_shape=INPUT_SHAPE, n_classes=N_CLASSES, dropout=0.5):
    """Three small convolutions and one hidden layer, after LeNet-5.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proc. IEEE 86(11), 1998. Departures: 3x3 convolutions in place of 5x5, 32, 64
    and 64 filters in place of 6, 16 and 120, every pair of maps connected, relu for tanh, max
    pooling for trained sub-sampling, one hidden layer of 80, softmax for the Gaussian connections,
    Adam for the diagonal Levenberg-Marquardt steps. This repo's ancestor passed `dropout` to Adam
    as its learning rate; here it is a Dropout layer before the softmax.

    Args:
        input_shape: (height, width, channels) of one picture.
        n_classes: number of classes, at least 1.
        dropout: share of the hidden units dropped in training, in [0, 1).

    Returns:
        A compiled `keras.Model`: float32 (n, *input_shape) in [0, 1] -> float32 (n, n_classes),
        rows of probabilities.
    """
    inputs = keras.Input(input_shape)  # 28x28x1
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D(2, padding="same")(x)  # 28x28x32 -> 14x14x32
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2, padding="same")(x)  # 14x14x64 -> 7x7x64
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = layers.Flatten()(x)  # 7x7x64 -> 3136
    x = layers.Dense(80, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return _compiled(inputs, _softmax(x, n_classes), "LeNet")


def AlexNet_inference(input_shape=INPUT_SHAPE, n_classes=N_CLASSES, dropout=0.5):
    """Five convolutions and two wide hidden layers, after AlexNet.

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks", NIPS 2012. Departures: the first stride is 2 in place of 4 (28x28 pictures in place
    of 224x224), the last pooling 2x2, hidden layers of 2048 in place of 4096, no local response
    normalisation, no split over two GPUs, Adam for SGD with momentum.

    Args and returns: as `LeNet_inference`. The input must be at least 21x21.
    """
    inputs = keras.Input(input_shape)  # 28x28x1
    x = layers.Conv2D(96, 11, strides=2, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D(3, strides=2)(x)  # 14x14x96 -> 6x6x96
    x = layers.Conv2D(256, 5, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)  # 6x6x256 -> 2x2x256
    x = layers.Conv2D(384, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(384, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(256, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2, strides=2)(x)  # 2x2x256 -> 1x1x256
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(2048, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return _compiled(inputs, _softmax(x, n_classes), "AlexNet")


def VGG16_inference(input_shape=INPUT_SHAPE, n_classes=N_CLASSES, dropout=0.5):
    """Thirteen convolutions in five blocks, after VGG's configuration C.

    Source: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015, table 1, column C: a 1x1 convolution closes blocks 3 to 5.
    Departures: hidden layers of 1024 and 128 in place of 4096 twice; pooling pads ("same"), so that
    28x28 survives five halvings (28, 14, 7, 4, 2, 1); He's initialisation, without which 13 layers
    of relu stay at chance; Adam for SGD with momentum. This repo's ancestor could not be built: its
    fifth pooling met a 1x1 map, and it had five outputs whatever the data.

    Args and returns: as `LeNet_inference`.
    """
    inputs = keras.Input(input_shape)  # 28x28x1
    x = inputs
    blocks = [  # filters, kernel sizes; every block halves the map
        (64, (3, 3)),  # -> 14x14x64
        (128, (3, 3)),  # -> 7x7x128
        (256, (3, 3, 1)),  # -> 4x4x256
        (512, (3, 3, 1)),  # -> 2x2x512
        (512, (3, 3, 1)),  # -> 1x1x512
    ]
    he = "he_normal"
    for filters, kernel_sizes in blocks:
        for size in kernel_sizes:
            x = layers.Conv2D(
                filters, size, padding="same", activation="relu", kernel_initializer=he
            )(x)
        x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Flatten()(x)
    for units in (1024, 128):
        x = layers.Dense(units, activation="relu", kernel_initializer=he)(x)
        x = layers.Dropout(dropout)(x)
    return _compiled(inputs, _softmax(x, n_classes), "VGG16")


def res_net_block(input_data, filters, conv_size):
    """One residual block: two convolutions with batch normalisation, added to their input.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016,
    figure 2. Departure: the first relu stands before its normalisation, not after it.

    Args:
        input_data: Keras tensor (n, height, width, filters); the sum needs the same depth.
        filters: number of filters of both convolutions.
        conv_size: side of their kernels.

    Returns:
        Keras tensor of `input_data`'s shape.
    """
    x = layers.Conv2D(filters, conv_size, padding="same", activation="relu")(input_data)
    x = BatchNormalization()(x)
    x = layers.Conv2D(filters, conv_size, padding="same")(x)
    x = BatchNormalization()(x)
    x = layers.Add()([x, input_data])
    return layers.Activation("relu")(x)


def ResNet_inference(input_shape=INPUT_SHAPE, n_classes=N_CLASSES, dropout=0.5):
    """Ten residual blocks of 64 filters at 8x8: the network that the shipped weights are for.

    Source: He et al. 2016, as in `res_net_block`. Departures: 28x28x1 pictures, a stem of two
    valid 3x3 convolutions and 3x3 pooling in place of one 7x7 with stride 2, one width and one map
    size in place of four stages, a 3x3 convolution after the blocks and a hidden layer of 256 with
    dropout before the softmax, Adam for SGD with momentum. 831,998 parameters at the defaults.

    Args and returns: as `LeNet_inference`. The input must be at least 13x13.
    """
    inputs = keras.Input(input_shape)  # 28x28x1
    x = layers.Conv2D(32, 3, activation="relu")(inputs)  # -> 26x26x32
    x = layers.Conv2D(64, 3, activation="relu")(x)  # -> 24x24x64
    x = layers.MaxPooling2D(3)(x)  # -> 8x8x64
    for _ in range(10):
        x = res_net_block(x, filters=64, conv_size=3)
    x = layers.Conv2D(64, 3, activation="relu")(x)  # -> 6x6x64
    x = layers.GlobalAveragePooling2D()(x)  # -> 64
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return _compiled(inputs, _softmax(x, n_classes), "ResNet")


MODELS = {
    "LeNet": LeNet_inference,
    "AlexNet": AlexNet_inference,
    "VGG16": VGG16_inference,
    "ResNet": ResNet_inference,
}


def _softmax(x, n_classes):
    """The output layer; float32 whatever the precision, since bfloat16 cannot tell 0.99 from 1."""
    return layers.Dense(n_classes, activation="softmax", dtype="float32")(x)


def _compiled(inputs, outputs, name):
    model = keras.Model(inputs, outputs, name=name)
    model.compile(
        optimizer="adam",  # the default learning rate, 1e-3
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


if __name__ == "__main__":
    for build in MODELS.values():
        build().summary()
