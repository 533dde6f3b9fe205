"""Every key that this package adds to detectron2's config, with its paper symbol, its reason and its default.

Keys that detectron2 already has are not repeated here; their paper values are set in ``configs/Base-RCNN-*.yaml``.
"SPEC" paragraphs are those of docs/FIDELITY.md, which lists the figures of the paper and of the two original programs
with their tests; "MATLAB" is the release the paper was made with, "py-faster-rcnn" the Python
re-implementation.
"""

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg as get_detectron2_cfg

__all__ = ["add_frcnn_alt_config", "get_cfg"]


def get_cfg() -> CN:
    """Return detectron2's default config with this package's keys added (a new copy at each call)."""
    cfg = get_detectron2_cfg()
    add_frcnn_alt_config(cfg)
    return cfg


def add_frcnn_alt_config(cfg: CN) -> None:
    """Add this package's keys to `cfg` in place; no value that detectron2 defines is changed.

    Args:
        cfg: a detectron2 config, e.g. what ``detectron2.config.get_cfg()`` returns.
    """
    _add_model_keys(cfg)
    _add_dataset_keys(cfg)
    _add_schedule_keys(cfg)
    _add_pretrain_keys(cfg)


def _add_model_keys(cfg: CN) -> None:
    # Multiplies every channel count of ZF and VGG-16 (rounded, at least 4). 1.0 is the paper; smaller ones are for
    # tests and for machines without a GPU.
    cfg.MODEL.BACKBONE.WIDTH_MULTIPLIER = 1.0

    # Components whose parameters are fixed while training ("backbone", "proposal_generator", "roi_heads", or a longer
    # prefix of parameter names). The alternating steps add theirs; BACKBONE.FREEZE_AT freezes single blocks besides.
    cfg.MODEL.FREEZE_COMPONENTS = ()
    # Single parameters to fix besides, by regular expressions that are searched in their names, such as
    # "backbone\\.conv[12]_" or "fc6\\.bias$".
    cfg.MODEL.FREEZE_PATTERNS = ()

    # How deltas become boxes, in the RPN and the detector. "inverse": the inverse of the coding (equation 2, MATLAB).
    # "one_pixel_larger": x2 and y2 come out one pixel further, as py-faster-rcnn's decoding has it (SPEC 4.4).
    cfg.MODEL.BBOX_DECODING = "inverse"
    # A mean image to subtract in place of PIXEL_MEAN, resized to each image: .npy (height x width x channels, in the
    # order of INPUT.FORMAT), Caffe's .binaryproto or the MATLAB release's .mat. Empty: PIXEL_MEAN, as py-faster-rcnn
    # does and as we do in the preset "paper" too, because the release's file cannot be distributed here (SPEC 2).
    cfg.MODEL.PIXEL_MEAN_IMAGE = ""

    # The proposal generator inside "UnsharedProposalGenerator", which has a backbone of its own (SPEC 6.4); the final
    # network of the schedule "unshared" has it.
    cfg.MODEL.PROPOSAL_GENERATOR.INNER_NAME = ""
    # The size that images have where "DenseWindows" lays out its windows, (shorter side, longest allowed side), so that
    # windows are the same at every scale that an image is shown at (SPEC 8.8). Empty: the network's input as it is.
    cfg.MODEL.PROPOSAL_GENERATOR.WINDOW_FRAME = ()

    # The image pyramid of Fast R-CNN at test time (SPEC 10.3): shorter sides of the image, the longer one at most
    # INPUT.MAX_SIZE_TEST. Each region is pooled from the size at which its area is nearest to the square of
    # CANONICAL_BOX_SIZE, the side of ImageNet's images. Empty: the network's input alone, the paper's way (SPEC 2).
    cfg.MODEL.PYRAMID = CN()
    cfg.MODEL.PYRAMID.SIZES_TEST = ()
    cfg.MODEL.PYRAMID.CANONICAL_BOX_SIZE = 224

    # Drop probability after fc6 and after fc7 (SPEC 1.1, 1.2); 0 switches dropout off, as py-faster-rcnn does for COCO.
    cfg.MODEL.ROI_BOX_HEAD.DROPOUT = 0.5
    # The RoI pooling formula expects inclusive corners: subtract 1 from x2, y2 first, as the MATLAB release does. False
    # hands over detectron2's continuous corners, near to what py-faster-rcnn does with RPN boxes (SPEC 5.1 "+1 trap").
    cfg.MODEL.ROI_BOX_HEAD.POOLER_INCLUSIVE_CORNERS = True
    # Round the inclusive corners to whole network pixels before pooling (half away from zero), as the MATLAB release
    # does and py-faster-rcnn does not (SPEC 5.1).
    cfg.MODEL.ROI_BOX_HEAD.POOLER_ROUND_CORNERS = True
    # "per_class": targets t* are normalised by the mean and std measured on the training RoIs of each class (both
    # alternating programs). "fixed": BBOX_REG_WEIGHTS alone, as py-faster-rcnn's joint training (SPEC 5.3).
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_STATISTICS = "per_class"
    # Keep at most this many boxes of a class in an image before NMS at test time; 100 in MATLAB, -1 is no limit and is
    # what py-faster-rcnn does (SPEC 5.4).
    cfg.MODEL.ROI_HEADS.PRE_NMS_TOPK_PER_CLASS_TEST = 100
    # At test, so many regions of an image are pooled and classified at a time, for memory: 100 kB a region with VGG-16.
    # Dense windows are 20000 (SPEC 8.8), proposals fewer than this.
    cfg.MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST = 4096
    # At evaluation, raise each class's score threshold until at most this many boxes per image, on average over the
    # data set, are left of the class before NMS; 40 in MATLAB, -1 is no such threshold (py-faster-rcnn) (SPEC 5.4).
    cfg.TEST.MEAN_BOXES_PER_CLASS = 40

    # N_reg of equation 1. "locations": H'W' of the feature map, so BBOX_REG_LOSS_WEIGHT is the paper's lambda = 10.
    # "samples": the number of sampled anchors, detectron2's and py-faster-rcnn's way, with weight 1 (SPEC 4.4).
    cfg.MODEL.RPN.BBOX_REG_NORMALIZER = "locations"
    # "measured": targets t* are normalised by one mean and std over all positive anchors of the training set (MATLAB).
    # "none": raw targets, as the paper's text and py-faster-rcnn (SPEC 4.4).
    cfg.MODEL.RPN.BBOX_REG_STATISTICS = "measured"
    # Whether the RPN decodes proposals while it trains. The alternating steps switch it off, because there nobody uses
    # them; joint training needs them.
    cfg.MODEL.RPN.PROPOSALS_IN_TRAINING = True

    # Non-approximate joint training (paper section 3.2, iii; SPEC 7.2): the detector's losses reach the RPN's deltas
    # through the corners of the proposals. Needs POOLER_TYPE "ROIWarp". False takes proposals for constants (ii).
    cfg.MODEL.RPN.PROPOSAL_GRADIENT = False
    # What passes no gradient on. "clipped_coordinates": the coordinates that the image's edges replace, as the
    # derivative has it. "clipped_boxes": all coordinates of a clipped box, and boxes of anchors that cross the
    # boundary, as MNC, the authors' own later code.
    cfg.MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS = "clipped_coordinates"
    # Largest absolute value of the detector's gradient with respect to one delta, for stability; 1 / 512 in MNC, with
    # one image in a batch. 0 is no limit.
    cfg.MODEL.RPN.PROPOSAL_GRADIENT_CLAMP = 0.0
    # With PROPOSAL_GRADIENT: the detector's box target t*(proposal, object) is a function of the proposal too. True
    # takes it for a constant, as MNC; False lets the box loss move the proposal through it.
    cfg.MODEL.ROI_BOX_HEAD.DETACH_TARGETS = True
    _add_proposal_switches(cfg)


def _add_proposal_switches(cfg: CN) -> None:
    # The ablations of Table 2 (paper 4.1, SPEC 8.1), in test mode alone: no training and no step's proposals see them.
    # "Top N" is POST_NMS_TOPK_TEST. docs/ABLATIONS.md has the commands.
    # "No NMS": False suppresses nothing; in the paper with PRE_ and POST_NMS_TOPK_TEST 6000.
    cfg.MODEL.RPN.NMS_TEST = True
    # "No cls": False looks at no score. POST_NMS_TOPK_TEST boxes are drawn at random, without replacement, from all
    # that are left after clipping and the smallest side; hence no NMS and no PRE_NMS_TOPK_TEST.
    cfg.MODEL.RPN.RANKING_TEST = True
    # Which of the draws; each image has its own by its image_id, however the images are ordered or shared. Several
    # draws, averaged, tell how much a result owes to chance.
    cfg.MODEL.RPN.RANDOM_DRAW_SEED = 0
    # "No reg": False takes the anchors themselves, clipped, filtered, scored and ranked as usual, with either
    # BBOX_DECODING; of zero deltas "one_pixel_larger" would make boxes a pixel larger, which the paper does not mean.
    cfg.MODEL.RPN.REGRESSION_TEST = True


def _add_dataset_keys(cfg: CN) -> None:
    # A folder of JPEGImages, Annotations and ImageSets/Main with any classes. When ROOT is set, data sets called
    # <folder>_<split> are registered and take the places of DATASETS.TRAIN and DATASETS.TEST.
    cfg.DATASETS.VOC_LAYOUT = CN()
    cfg.DATASETS.VOC_LAYOUT.ROOT = ""
    cfg.DATASETS.VOC_LAYOUT.TRAIN_SPLITS = ("trainval",)
    cfg.DATASETS.VOC_LAYOUT.TEST_SPLITS = ("test",)
    # Class names in order; empty: the lines of CLASSES.txt, else the names found in the annotations, sorted.
    cfg.DATASETS.VOC_LAYOUT.CLASSES = ()

    # COCO json files with the folder of their images. Same replacement of DATASETS.TRAIN and DATASETS.TEST.
    cfg.DATASETS.COCO_JSON = CN()
    cfg.DATASETS.COCO_JSON.TRAIN_JSON = ""
    cfg.DATASETS.COCO_JSON.TRAIN_IMAGES = ""
    cfg.DATASETS.COCO_JSON.TEST_JSON = ""
    cfg.DATASETS.COCO_JSON.TEST_IMAGES = ""

    # What happens to malformed images and boxes, after all of them have been listed with their files: "stop", or
    # "leave_out" (the box or the image is not used).
    cfg.DATASETS.MALFORMED = "stop"

    # What happens to an image whose file cannot be read while it is used: it has vanished, is cut off meanwhile, the
    # disk fails. "stop": one error that names it; --resume goes on once it is back. "skip": training takes another
    # image of the same orientation in its place, drawn from the seed of that place in the batch, so that a resume stays
    # exact as long as the same files are unreadable; it gets no proposals, and no detections in evaluation. Each is
    # logged once, and named in manifest.json and results.json. With "skip" missing and unreadable files do not count as
    # malformed before training either, where the annotation tells their size: a resumed run has the same data set.
    # Selective Search, EdgeBoxes and tools/pretrain_backbone.py stop in any case.
    cfg.DATALOADER.UNREADABLE_IMAGES = "stop"
    # With "skip", more than this share of a data set stops nevertheless; one image is always let pass. Each of several
    # processes counts those that it met itself.
    cfg.DATALOADER.MAX_UNREADABLE_SHARE = 0.01

    # Training leaves out stored proposals of whose area more than this share lies inside one crowd box of COCO; 0.7 in
    # py-faster-rcnn's Fast R-CNN training on COCO (SPEC 6.5). -1 keeps them, as the paper says nothing of it.
    cfg.DATASETS.PROPOSAL_CROWD_THRESH = -1.0


def _add_schedule_keys(cfg: CN) -> None:
    # Factors of single losses, names and numbers by turns, such as ["loss_rpn_cls", 0.0, "loss_rpn_loc", 0.0]. Equation
    # 1's lambda is MODEL.RPN.BBOX_REG_LOSS_WEIGHT.
    cfg.SOLVER.LOSS_WEIGHTS = []
    # An iteration whose loss or gradient is NaN or infinite changes no weight. The training stops at it, and says where
    # it was; or it passes over up to so many in a row, counted in metrics.json ("nonfinite_skips") and the manifest.
    # 0, because such an iteration usually means that the next thousand are worth nothing (the original programs go on
    # training NaNs). May be changed at --resume.
    cfg.SOLVER.NONFINITE_SKIPS = 0
    # Which registered trainer tools/train_net.py runs: "AlternatingTrainer" for schedules of steps,
    # "SingleStepTrainer" for one ordinary training of the config as it stands.
    cfg.TRAINER = "AlternatingTrainer"

    # The list of steps (paper section 3.2), by its name in SCHEDULE_REGISTRY: "four_step", "unshared", "rpn",
    # "fast_rcnn", "one_stage", "joint" (docs/SCHEDULES.md), or one of somebody else's.
    cfg.SCHEDULE = CN()
    cfg.SCHEDULE.NAME = "four_step"
    # How often steps 3 and 4 of "four_step" are run, on the same convolutions; from the second time on both heads go on
    # from the time before. The paper runs them once, and "observed negligible improvements" of more.
    cfg.SCHEDULE.ROUNDS = 1
    # The steps to train, counted from 1: "3", "3-4", "2-"; empty is all, "none" puts together what is given. The flag
    # --steps sets it. The others are taken from OUTPUT_DIR with --resume, or are given by the next key or STEPn.GIVEN.
    cfg.SCHEDULE.RUN_ONLY = ""
    # Folder of an earlier run that stands in for the steps which are not trained. The flag --from-run sets it.
    cfg.SCHEDULE.GIVEN_RUN = ""
    # Where the steps' solver values come from. "own": STEPn below. "SOLVER": every step has the config's SOLVER values,
    # for a schedule that is laid over somebody else's config.
    cfg.SCHEDULE.SOLVER_OF_STEPS = "own"
    # Step 4 continues cls_score and bbox_pred of step 2 (MATLAB, "step2_fast_rcnn"), or starts them anew ("new",
    # py-faster-rcnn) (SPEC 6.1, 6.6).
    cfg.SCHEDULE.STEP4_BOX_PREDICTOR = "step2_fast_rcnn"
    # Step 3 starts a new RPN head (both programs) or continues that of step 1 ("step1_rpn", seed 000).
    cfg.SCHEDULE.STEP3_RPN_HEAD = "new"
    # SOLVER values step by step; the defaults are those of VOC07 (SPEC 6.1): images per batch, iterations, the
    # iterations at which the learning rate drops by GAMMA, the learning rate before.
    for number, (images, iterations, drop) in enumerate(
        [(1, 80000, 60000), (2, 40000, 30000), (1, 80000, 60000), (2, 40000, 30000)], start=1
    ):
        step = cfg.SCHEDULE[f"STEP{number}"] = CN()
        step.IMS_PER_BATCH = images
        step.MAX_ITER = iterations
        step.STEPS = (drop,)
        step.BASE_LR = 0.001
        # Any further "KEY", value pairs for this step alone, e.g. ["SOLVER.WEIGHT_DECAY", 0.0].
        step.OPTS = []
        # A weight file that stands in for this step when it is not among the steps to train.
        step.GIVEN = ""

    # Proposals written after an RPN step, over the training and the test images: all anchors -> NMS 0.7 -> 2000
    # (SPEC 4.5, first row). The final network uses MODEL.RPN.*_TEST instead.
    cfg.SCHEDULE.PROPOSALS = CN()
    cfg.SCHEDULE.PROPOSALS.PRE_NMS_TOPK = 1000000
    cfg.SCHEDULE.PROPOSALS.POST_NMS_TOPK = 2000
    # Where the proposals of a horizontally flipped training image come from. "recomputed": the RPN runs on the flipped
    # image too (MATLAB). "mirrored": those of the image, mirrored (py-faster-rcnn) (SPEC 4.5, 6.6).
    cfg.SCHEDULE.PROPOSALS.FLIPPED_IMAGES = "recomputed"


def _add_pretrain_keys(cfg: CN) -> None:
    # tools/pretrain_backbone.py: the backbone with fc6 and fc7 as an image classifier, which stands in for the
    # ImageNet weights that every step of the paper starts from.
    cfg.PRETRAIN = CN()
    # "crops": boxes of the detection training split and background, one image a class. Else an ImageNet-layout folder
    # (train/<class>/*.jpg, val/<class>/*.jpg).
    cfg.PRETRAIN.DATA = "crops"
    cfg.PRETRAIN.IMAGE_SIZE = 224  # pixels, square, after cropping
    # With "crops": each batch is shown at a random side between this share of IMAGE_SIZE and IMAGE_SIZE, because in
    # detection the convolutions meet objects of all sizes, not all of them enlarged to one.
    cfg.PRETRAIN.MIN_SCALE = 0.75
    cfg.PRETRAIN.BATCH_SIZE = 32  # images, over all processes
    # As SOLVER's keys of the same names, for crops of a small data set; ImageNet takes some 100,000 iterations.
    cfg.PRETRAIN.MAX_ITER = 400
    cfg.PRETRAIN.STEPS = (300,)
    cfg.PRETRAIN.BASE_LR = 0.01
    cfg.PRETRAIN.MOMENTUM = 0.9
    cfg.PRETRAIN.WEIGHT_DECAY = 0.0005
    # With "crops": the share of a batch that shows background (IoU below 0.3 with every box), an extra class.
    cfg.PRETRAIN.BACKGROUND_FRACTION = 0.25
