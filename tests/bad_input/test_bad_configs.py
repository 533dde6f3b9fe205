"""Configs: unknown keys, wrong types, impossible values, keys that contradict each other, files that are no config."""

import pytest
from refusals import ONE_STEP, train_net

FILES = {
    "not there": (None, "not found"),
    "empty": ("", "KEY: VALUE lines"),
    "a list": ("- 1\n- 2\n", "KEY: VALUE lines"),
    "a number": ("3\n", "KEY: VALUE lines"),
    "yaml that does not parse": ("MODEL: {A: [1\n", "cannot be read as a config"),
    "tabs": ("MODEL:\n\tDEVICE: cpu\n", "cannot be read as a config"),
    "bytes that are no text": (b"\xff\xfe\x00\x01MODEL", "cannot be read as a config"),
    "a base that is not there": ('_BASE_: "nowhere.yaml"\n', "nowhere.yaml"),
    "a base of itself": ('_BASE_: "bad.yaml"\n', "bad.yaml"),
    "an unknown key": ("MODEL: {DEVISE: cpu}\n", "MODEL.DEVICE"),
    "an unknown section": ("MODELL: {DEVICE: cpu}\n", "MODELL"),
    "a key of another type": ("MODEL: {RPN: {NMS_THRESH: [0.7]}}\n", "NMS_THRESH"),
    "a section that is a number": ("MODEL: 3\n", "KEY: VALUE lines"),
    "a number that is a section": ("SEED: {A: 1}\n", "SEED"),
    "null": ("SOLVER: {BASE_LR: null}\n", "BASE_LR is null"),
    "a key that is a number": ("1: 2\n", "KEY: VALUE lines"),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("place", ["config", "overlay"])
def test_files(case, place, start, refused, tmp_path):
    content, part = FILES[case]
    bad = tmp_path / "bad.yaml"
    if content is not None:
        bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    words = (str(bad),) if place == "config" else (start.config, "--overlay", str(bad))
    culprit = () if case == "null" else (str(bad),)
    refused(train_net(*words, "OUTPUT_DIR", tmp_path / "out"), *culprit, part)


OVERRIDES = {
    "a key alone": (["SEED"], "come in pairs", "SEED"),
    "a flag behind the keys": (["SEED", "1", "--resume"], "Flags go before the first KEY"),
    "a yaml as a key": (["other.yaml", "1"], "--overlay"),
    "an unknown key": (["SOLVER.BASE_RL", "1"], "SOLVER.BASE_LR"),
    "an unknown word": (["NOTHING.LIKE.IT", "1"], "NOTHING.LIKE.IT"),
    "a section": (["MODEL", "3"], "MODEL"),
    "a text for a number": (["SOLVER.BASE_LR", "fast"], "SOLVER.BASE_LR"),
    "a number for a text": (["OUTPUT_DIR", "3"], "OUTPUT_DIR"),
    "a number for a tuple": (["INPUT.MIN_SIZE_TRAIN", "600"], "INPUT.MIN_SIZE_TRAIN"),
    "a text for a tuple": (["DATASETS.VOC_LAYOUT.TRAIN_SPLITS", "trainval"], "TRAIN_SPLITS"),
    "numbers for texts": (["DATASETS.VOC_LAYOUT.TRAIN_SPLITS", "(1, 2)"], "TRAIN_SPLITS"),
    "texts for numbers": (["SOLVER.STEPS", '("a",)', "TRAINER", "SingleStepTrainer"], "SOLVER.STEPS"),
    "texts for sizes": (["INPUT.MIN_SIZE_TRAIN", '("a",)'], "INPUT.MIN_SIZE_TRAIN"),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_overrides(case, start, refused, tmp_path):
    words, *parts = OVERRIDES[case]
    refused(train_net(start.config, *words), *parts)


# Key, value, what is said besides the key.
VALUES = [
    ("SOLVER.CHECKPOINT_PERIOD", "0", "1 or more"),
    ("DATALOADER.NUM_WORKERS", "-1", "0 or more"),
    ("DATALOADER.UNREADABLE_IMAGES", "ignore", "'stop', 'skip'"),
    ("DATALOADER.MAX_UNREADABLE_SHARE", "1.5", "share"),
    ("DATASETS.MALFORMED", "ignore", "leave_out"),
    ("DATASETS.PROPOSAL_CROWD_THRESH", "2.0", "0 to 1"),
    ("SCHEDULE.NAME", "five_step", "four_step"),
    ("SCHEDULE.ROUNDS", "0", "1"),
    ("SCHEDULE.RUN_ONLY", "'9'", "4"),
    ("SCHEDULE.RUN_ONLY", "9", "Quote"),
    ("SCHEDULE.RUN_ONLY", "4-3", "4-3"),
    ("SCHEDULE.GIVEN_RUN", "/nowhere", "/nowhere"),
    ("SCHEDULE.STEP1.GIVEN", "/nowhere.pth", "--steps"),
    ("SCHEDULE.STEP1.MAX_ITER", "0", "at least 1"),
    ("SCHEDULE.STEP1.BASE_LR", "0.0", "above 0"),
    ("SCHEDULE.STEP1.BASE_LR", "-1.0", "above 0"),
    ("SCHEDULE.STEP1.BASE_LR", "float('nan')", "BASE_LR"),
    ("SCHEDULE.STEP2.STEPS", "(3, 2)", "rising"),
    ("SCHEDULE.STEP2.IMS_PER_BATCH", "0", "multiple"),
    ("SCHEDULE.STEP3.OPTS", "['SOLVER.BASE_RL', 1]", "BASE_LR"),
    ("SCHEDULE.STEP3.OPTS", "['SEED', 1]", "SEED"),
    ("SCHEDULE.PROPOSALS.FLIPPED_IMAGES", "never", "mirrored"),
    ("SCHEDULE.PROPOSALS.POST_NMS_TOPK", "0", "1"),
    ("SCHEDULE.PROPOSALS.PRE_NMS_TOPK", "0", "1"),
    ("TRAINER", "Trainer", "AlternatingTrainer"),
    ("MODEL.DEVICE", "gpu", "cuda"),
    ("MODEL.META_ARCHITECTURE", "FasterRCN", "FasterRCNN"),
    ("MODEL.BACKBONE.NAME", "build_zf", "build_zf_backbone"),
    ("MODEL.BACKBONE.WIDTH_MULTIPLIER", "0.0", "WIDTH_MULTIPLIER"),
    ("MODEL.BACKBONE.WIDTH_MULTIPLIER", "-1.0", "WIDTH_MULTIPLIER"),
    ("MODEL.BACKBONE.FREEZE_AT", "99", "FREEZE_AT"),
    ("MODEL.RPN.IN_FEATURES", '("conv9",)', "conv5"),
    ("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "0", "1"),
    ("MODEL.RPN.POSITIVE_FRACTION", "1.5", "1"),
    ("MODEL.RPN.NMS_THRESH", "-0.5", "0"),
    ("MODEL.RPN.IOU_THRESHOLDS", "[0.7]", "IOU_LABELS"),
    ("MODEL.RPN.IOU_THRESHOLDS", "[0.7, 0.3]", "rising"),
    ("MODEL.RPN.POST_NMS_TOPK_TEST", "0", "1"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "[[]]", "SIZES"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "[[-16]]", "SIZES"),
    ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[0.0]]", "ASPECT_RATIOS"),
    ("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "0", "1"),
    ("MODEL.ROI_HEADS.POSITIVE_FRACTION", "-0.1", "0"),
    ("MODEL.ROI_HEADS.NMS_THRESH_TEST", "1.5", "1"),
    ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "2.0", "1"),
    ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIMax", "ROIPool"),
    ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "0", "POOLER_RESOLUTION"),
    ("MODEL.ROI_BOX_HEAD.DROPOUT", "1.5", "DROPOUT"),
    ("MODEL.ROI_BOX_HEAD.FC_DIM", "0", "FC_DIM"),
    ("MODEL.PIXEL_MEAN", "[1.0, 2.0]", "PIXEL_MEAN"),
    ("MODEL.PIXEL_STD", "[0.0, 1.0, 1.0]", "PIXEL_STD"),
    ("MODEL.PIXEL_MEAN_IMAGE", "/nowhere.npy", "/nowhere.npy"),
    ("MODEL.FREEZE_PATTERNS", '("(",)', "FREEZE_PATTERNS"),
    ("MODEL.FREEZE_COMPONENTS", '("backbone", "proposal_generator", "roi_heads")', "nothing to train"),
    ("INPUT.MIN_SIZE_TRAIN", "()", "at least one size"),
    ("INPUT.MIN_SIZE_TEST", "-5", "MIN_SIZE_TEST"),
    ("INPUT.MAX_SIZE_TRAIN", "0", "MAX_SIZE_TRAIN"),
    ("INPUT.MAX_SIZE_TEST", "0", "MAX_SIZE_TEST"),
    ("INPUT.FORMAT", "HSV", "BGR"),
    ("INPUT.RANDOM_FLIP", "diagonal", "horizontal"),
    ("SOLVER.LOSS_WEIGHTS", "['loss_rpn_cls']", "SOLVER.LOSS_WEIGHTS"),
    ("SOLVER.AMP.ENABLED", "True", "set False"),
    ("SOLVER.REFERENCE_WORLD_SIZE", "-1", "0"),
    ("SOLVER.MOMENTUM", "1.5", "MOMENTUM"),
    ("SOLVER.WEIGHT_DECAY", "-0.1", "WEIGHT_DECAY"),
    ("SOLVER.GAMMA", "-1.0", "GAMMA"),
    ("SOLVER.WARMUP_METHOD", "slow", "WARMUP_METHOD"),
    ("SOLVER.WARMUP_ITERS", "-1", "WARMUP_ITERS"),
    ("SOLVER.LR_SCHEDULER_NAME", "Cosine", "WarmupMultiStepLR"),
    ("TEST.MEAN_BOXES_PER_CLASS", "0", "above 0"),
    ("TEST.DETECTIONS_PER_IMAGE", "0", "DETECTIONS_PER_IMAGE"),
    ("TEST.EVAL_PERIOD", "-1", "EVAL_PERIOD"),
    ("SEED", "3000000000000", "SEED"),
]


@pytest.mark.parametrize(("key", "value", "part"), VALUES, ids=[f"{key}={value}" for key, value, _ in VALUES])
def test_values(key, value, part, start, refused, tmp_path):
    of_all_steps = key.startswith(("SCHEDULE.", "MODEL.FREEZE", "MODEL.BACKBONE"))
    shorter = ("MODEL.WEIGHTS", "") if of_all_steps else ONE_STEP
    words = ["OUTPUT_DIR", tmp_path / "out", *shorter, key, value]
    refused(train_net(start.config, *words), key.rsplit(".", 1)[-1], part)


CONTRADICTIONS = {
    "both data sets": (["DATASETS.COCO_JSON.TRAIN_JSON", "a.json"], "both set"),
    "no data set": (["DATASETS.VOC_LAYOUT.ROOT", "", "DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
    "two classes twice": (["DATASETS.VOC_LAYOUT.CLASSES", '("disc", "disc")'], "twice"),
    "rounded corners and ROIAlign": (["MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2"], "continuous corners"),
    "weights of targets twice": (["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", "(10.0, 10.0, 5.0, 5.0)"], "BBOX_REG_WEIGHTS"),
    "agnostic, by class": (["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"], "CLS_AGNOSTIC_BBOX_REG"),
    "a gradient without its pooling": (["MODEL.RPN.PROPOSAL_GRADIENT", "True"], "ROIWarp"),
    "steps of one training": (["TRAINER", "SingleStepTrainer", "SCHEDULE.RUN_ONLY", "'1'"], "trains once"),
    "weights that it writes itself": (["MODEL.WEIGHTS", "{out}/model_final.pth"], "model_final.pth"),
    "proposals for half of the data": (["SCHEDULE.NAME", "fast_rcnn"], "PROPOSAL_FILES_TRAIN"),
    "a vertical flip of flipped proposals": (["INPUT.RANDOM_FLIP", "vertical"], "FLIPPED_IMAGES"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions(case, start, refused, tmp_path):
    words, part = CONTRADICTIONS[case]
    words = [word.replace("{out}", str(tmp_path / "out")) for word in words]
    words = ["OUTPUT_DIR", tmp_path / "out", "MODEL.WEIGHTS", "", *words]
    refused(train_net(start.config, *words), part)
