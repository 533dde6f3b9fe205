"""The layers of ZF-net and VGG-16 up to the feature map, as SPEC 1.1 and 1.2 list them.

A layer is (name, kind, kernel, stride, padding, output channels); the kinds are "conv", "relu", "lrn" and "pool".
"""

from typing import List, Tuple

Layer = Tuple[str, str, int, int, int, int]

ZF_LAYERS: List[Layer] = [
    ("conv1", "conv", 7, 2, 3, 96),
    ("relu1", "relu", 1, 1, 0, 96),
    ("norm1", "lrn", 3, 1, 1, 96),
    ("pool1", "pool", 3, 2, 1, 96),
    ("conv2", "conv", 5, 2, 2, 256),
    ("relu2", "relu", 1, 1, 0, 256),
    ("norm2", "lrn", 3, 1, 1, 256),
    ("pool2", "pool", 3, 2, 1, 256),
    ("conv3", "conv", 3, 1, 1, 384),
    ("relu3", "relu", 1, 1, 0, 384),
    ("conv4", "conv", 3, 1, 1, 384),
    ("relu4", "relu", 1, 1, 0, 384),
    ("conv5", "conv", 3, 1, 1, 256),
    ("relu5", "relu", 1, 1, 0, 256),
]

VGG16_LAYERS: List[Layer] = [
    ("conv1_1", "conv", 3, 1, 1, 64),
    ("relu1_1", "relu", 1, 1, 0, 64),
    ("conv1_2", "conv", 3, 1, 1, 64),
    ("relu1_2", "relu", 1, 1, 0, 64),
    ("pool1", "pool", 2, 2, 0, 64),
    ("conv2_1", "conv", 3, 1, 1, 128),
    ("relu2_1", "relu", 1, 1, 0, 128),
    ("conv2_2", "conv", 3, 1, 1, 128),
    ("relu2_2", "relu", 1, 1, 0, 128),
    ("pool2", "pool", 2, 2, 0, 128),
    ("conv3_1", "conv", 3, 1, 1, 256),
    ("relu3_1", "relu", 1, 1, 0, 256),
    ("conv3_2", "conv", 3, 1, 1, 256),
    ("relu3_2", "relu", 1, 1, 0, 256),
    ("conv3_3", "conv", 3, 1, 1, 256),
    ("relu3_3", "relu", 1, 1, 0, 256),
    ("pool3", "pool", 2, 2, 0, 256),
    ("conv4_1", "conv", 3, 1, 1, 512),
    ("relu4_1", "relu", 1, 1, 0, 512),
    ("conv4_2", "conv", 3, 1, 1, 512),
    ("relu4_2", "relu", 1, 1, 0, 512),
    ("conv4_3", "conv", 3, 1, 1, 512),
    ("relu4_3", "relu", 1, 1, 0, 512),
    ("pool4", "pool", 2, 2, 0, 512),
    ("conv5_1", "conv", 3, 1, 1, 512),
    ("relu5_1", "relu", 1, 1, 0, 512),
    ("conv5_2", "conv", 3, 1, 1, 512),
    ("relu5_2", "relu", 1, 1, 0, 512),
    ("conv5_3", "conv", 3, 1, 1, 512),
    ("relu5_3", "relu", 1, 1, 0, 512),
]
