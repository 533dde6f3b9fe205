"""Proposals of a step that is given: used where they lie if they are what this run would compute, else computed."""

import glob
import json
import os
from pathlib import Path

from frcnn_alt.engine import AlternatingTrainer, build_schedule
from frcnn_alt.engine.given_step import GivenStep
from frcnn_alt.engine.manifest import Manifest
from frcnn_alt.engine.open_manifest import open_manifest
from frcnn_alt.engine.step_selection import select_steps
from frcnn_alt.proposals import ProposalSet

import pytest
from miniature import STEPS, another, final_hash, moved_run, problems_of, run, weights_in


def test_lost_proposals_matter_only_to_steps_that_are_still_to_be_trained(whole, tmp_path):
    rpn = weights_in(whole.OUTPUT_DIR, "step1_rpn")
    cfg = another(whole, tmp_path, "2", SCHEDULE__STEP1__GIVEN=rpn, MODEL__WEIGHTS=whole.MODEL.WEIGHTS)
    run(cfg)
    proposals = os.path.join(cfg.OUTPUT_DIR, "step1_rpn", "proposals")
    recall = Manifest.read(cfg.OUTPUT_DIR).step("step1_rpn")["recall"]
    os.rename(proposals, tmp_path / "elsewhere")
    cfg.SCHEDULE.RUN_ONLY = "3"
    run(cfg, resume=True)
    assert not os.path.exists(proposals)
    assert Manifest.read(cfg.OUTPUT_DIR).step("step1_rpn")["recall"] == recall != {}
    os.rename(tmp_path / "elsewhere", proposals)
    cfg.SCHEDULE.PROPOSALS.POST_NMS_TOPK = 7  # not what step 2 was trained on
    (problem,) = problems_of(cfg)
    assert problem.startswith("step2_fast_rcnn in this folder began with proposals of step1_rpn that are not there any")


@pytest.mark.parametrize(
    "key, value",
    [
        ("SCHEDULE.PROPOSALS.PRE_NMS_TOPK", 50),
        ("MODEL.RPN.NMS_THRESH", 0.5),
        ("MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 9),
        ("INPUT.MIN_SIZE_TEST", 90),
    ],
)
def test_proposals_chosen_in_another_way_are_not_used(key, value, whole, tmp_path):
    cfg = another(whole, tmp_path, "4", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR)
    os.makedirs(cfg.OUTPUT_DIR)
    schedule = build_schedule(cfg)
    plan, selection = AlternatingTrainer(cfg).plan(), select_steps(cfg, schedule)
    manifest = open_manifest(cfg, schedule, selection, plan, resume=False, config_file="")

    def folder_of_proposals():
        return GivenStep(cfg, schedule, schedule["step3_rpn"], selection, manifest).output_dir

    assert folder_of_proposals() == os.path.join(whole.OUTPUT_DIR, "step3_rpn")
    cfg.merge_from_list([key, value])
    assert folder_of_proposals() == os.path.join(cfg.OUTPUT_DIR, "step3_rpn")


def test_proposals_in_another_number_are_computed_anew(whole, tmp_path):
    cfg = another(whole, tmp_path, "4", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR)
    cfg.SCHEDULE.PROPOSALS.POST_NMS_TOPK = 7
    run(cfg)
    (folder,) = glob.glob(os.path.join(cfg.OUTPUT_DIR, STEPS[2], "proposals", "*_trainval"))
    assert max(len(ProposalSet(folder)[image][0]) for image in ProposalSet(folder)) == 7


def test_proposals_of_other_images_are_computed_anew(whole, tmp_path):
    """The earlier run was over some images less; where it has them all, its sets are used where they lie."""
    earlier = Path(moved_run(whole, tmp_path / "earlier"))
    for index in (earlier / STEPS[2]).glob("proposals/*/index.json"):
        record = json.loads(index.read_text())
        record["image_ids"][0] = "another"
        index.write_text(json.dumps(record))
    cfg = another(whole, tmp_path, "4", SCHEDULE__GIVEN_RUN=str(earlier))
    run(cfg)
    assert os.path.isdir(os.path.join(cfg.OUTPUT_DIR, STEPS[2], "proposals")) and final_hash(cfg) == final_hash(whole)
