"""A table whose base is a network of the smallest size on a few generated images."""

from frcnn_alt.data.shapes import make_shapes

import pytest
import yaml

BASE = """\
_BASE_: "{configs}/Base-RCNN-{net}.yaml"
MODEL:
  BACKBONE: {{WIDTH_MULTIPLIER: 0.06}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
  ANCHOR_GENERATOR: {{SIZES: [[16, 32, 64]]}}
  PROPOSAL_GENERATOR: {{MIN_SIZE: 4}}
  RPN: {{POST_NMS_TOPK_TEST: 20}}
INPUT: {{MIN_SIZE_TRAIN: [84], MIN_SIZE_TEST: 84}}
DATASETS: {{VOC_LAYOUT: {{ROOT: "{shapes}"}}}}
DATALOADER: {{NUM_WORKERS: 0}}
SCHEDULE:
  STEP1: {{MAX_ITER: 4, STEPS: [3], IMS_PER_BATCH: 2}}
  STEP2: {{MAX_ITER: 3, STEPS: [2], IMS_PER_BATCH: 2}}
  STEP3: {{MAX_ITER: 2, STEPS: [1], IMS_PER_BATCH: 2}}
  STEP4: {{MAX_ITER: 1, STEPS: [], IMS_PER_BATCH: 2}}
"""

TABLE = """\
title: "A small table"
metrics: {{AP50: bbox/AP50}}
columns: [trained on, tested on, boxes]
bases: {{zf: "{folder}/zf.yaml", vgg: "{folder}/vgg.yaml"}}
networks:
  ss: {{base: zf, overlays: ["{configs}/overlays/fast_rcnn.yaml"], proposals: selective_search}}
  rpn: {{base: zf, overlays: ["{configs}/overlays/rpn.yaml"]}}
  vgg_rpn: {{base: vgg, overlays: ["{configs}/overlays/rpn.yaml"]}}
  unshared: {{base: zf, overlays: ["{configs}/overlays/unshared.yaml"]}}
  shared: {{base: zf}}
rows:
  - {{name: ss, cells: [SS, SS, 2000], network: ss, paper: 58.7}}
  - {{name: shared, cells: [RPN, RPN, 20], network: shared, boxes: 20, paper: 59.9}}
  - {{name: unshared, cells: [RPN, "RPN, unshared", 10], network: unshared, boxes: 10}}
  - {{name: rpn_5, cells: [SS, RPN, 5], network: ss, proposals: rpn, boxes: 5}}
  - {{name: rpn_15, cells: [SS, RPN, 15], network: ss, proposals: rpn, boxes: 15}}
  - {{name: no_cls, cells: [SS, "RPN (no cls)", 15], network: ss, proposals: rpn, boxes: 15, draws: 2,
      proposal_test: {{MODEL.RPN.RANKING_TEST: False}}}}
  - {{name: vgg_rpn, cells: [SS, RPN+VGG, 5], network: ss, proposals: vgg_rpn, boxes: 5}}
statements:
  - {{text: "Sharing is better", better: shared, worse: unshared}}
"""


@pytest.fixture(scope="session")
def small_table(tmp_path_factory):
    """Path of the table file; its images and bases lie beside it."""
    from scripts import REPOSITORY

    folder = tmp_path_factory.mktemp("table")
    shapes = folder / "tiny_shapes"
    make_shapes(str(shapes), seed=1, num_trainval=6, num_test=4, size=(112, 84))
    configs = REPOSITORY / "configs"
    for name, net in (("zf", "ZF"), ("vgg", "VGG16")):
        (folder / f"{name}.yaml").write_text(BASE.format(configs=configs, net=net, shapes=shapes))
    (folder / "small.yaml").write_text(TABLE.format(folder=folder, configs=configs))
    return folder / "small.yaml"


@pytest.fixture(scope="session")
def tiny_table(small_table):
    """Path of a table with those of its rows that take least time."""
    content = yaml.safe_load(small_table.read_text())
    content["rows"] = [row for row in content["rows"] if row["name"] in ("ss", "shared", "unshared", "rpn_5")]
    path = small_table.with_name("tiny.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
