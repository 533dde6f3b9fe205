"""Keys that do not go together with the gradient through proposals are named, with what to set (SPEC 7.2)."""

from frcnn_alt.engine import ConfigError, check_config, main

import pytest
from joint_miniature import arguments, small_config


def problems_of(*opts):
    cfg = small_config("zf", *opts, kind="joint_nonapproximate")
    cfg.MODEL.DEVICE = "cuda"  # mixed precision is among the combinations
    return check_config(cfg)


def test_configs_agree_with_themselves():
    for net in ("zf", "vgg16"):
        assert check_config(small_config(net, kind="joint_nonapproximate")) == []


@pytest.mark.parametrize(
    "opts, message",
    [
        (["MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool"], "POOLER_TYPE 'ROIPool' gives none: set it to 'ROIWarp'"),
        (["MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2"], "POOLER_TYPE 'ROIAlignV2' gives none"),
        (["MODEL.RPN.PROPOSALS_IN_TRAINING", "False"], "PROPOSALS_IN_TRAINING False leaves no proposals: set it True"),
        (["SCHEDULE.NAME", "four_step"], "set SCHEDULE.NAME to 'joint'"),
        (["MODEL.PROPOSAL_GENERATOR.NAME", "RPN"], "needs MODEL.PROPOSAL_GENERATOR.NAME 'FasterRCNNRPN'; RPN stops"),
        (["MODEL.ROI_HEADS.NAME", "StandardROIHeads"], "needs MODEL.ROI_HEADS.NAME 'FasterRCNNROIHeads'"),
        (["MODEL.LOAD_PROPOSALS", "True"], "PROPOSAL_GRADIENT has nowhere to go with stored proposals"),
        (["MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"], "nowhere to go with stored proposals"),
        (["MODEL.MASK_ON", "True"], "set MODEL.MASK_ON and MODEL.KEYPOINT_ON False"),
        (["SOLVER.AMP.ENABLED", "True"], "PROPOSAL_GRADIENT_CLAMP would clamp gradients that SOLVER.AMP multiplies"),
        (["MODEL.RPN.PROPOSAL_GRADIENT_CLAMP", "-1.0"], "PROPOSAL_GRADIENT_CLAMP is -1.0: it must be above 0, or 0"),
        (["MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS", "clipped"], "'clipped'; it is one of 'clipped_coordinates'"),
        (["MODEL.ROI_BOX_HEAD.POOLER_INCLUSIVE_CORNERS", "True"], "POOLER_INCLUSIVE_CORNERS is for ROIPool, but"),
    ],
)
def test_each_contradiction_is_named_with_its_mend(opts, message):
    problems = problems_of(*opts)
    assert any(message in problem for problem in problems), problems
    if "PrecomputedProposals" not in opts:
        assert len(problems) == 1


@pytest.mark.parametrize(
    "opts",
    [
        ["MODEL.RPN.PROPOSAL_GRADIENT_CONSTANTS", "clipped_boxes", "MODEL.ROI_BOX_HEAD.DETACH_TARGETS", "False"],
        ["SOLVER.AMP.ENABLED", "True", "MODEL.RPN.PROPOSAL_GRADIENT_CLAMP", "0.0"],
        ["MODEL.RPN.PROPOSAL_GRADIENT", "False", "SOLVER.AMP.ENABLED", "True"],  # the warp under the approximation
    ],
)
def test_combinations_that_do_agree(opts):
    assert problems_of(*opts) == []


def test_the_run_refuses_too(shapes, tmp_path):
    words = ["MODEL.WEIGHTS", "", "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlign"]
    with pytest.raises(ConfigError, match="PROPOSAL_GRADIENT needs a pooling that gives boxes a gradient"):
        main(arguments("zf", shapes, tmp_path / "run", *words, kind="joint_nonapproximate"))
    assert not list(tmp_path.glob("run/*.pth"))
