"""A run that trains nothing: the steps of another one are put together to another schedule's network."""

import os

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.engine import AlternatingTrainer

import pytest
import torch
from miniature import another, problems_of, states, weights_of


def _put_together(whole, folder, schedule):
    cfg = another(whole, folder, "none", SCHEDULE__GIVEN_RUN=whole.OUTPUT_DIR, SCHEDULE__NAME=schedule)
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    return cfg, AlternatingTrainer(cfg, resume=True).train()


def test_two_networks_of_the_first_steps(whole, tmp_path):
    cfg, results = _put_together(whole, tmp_path, "unshared")
    final = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
    rpn, detector = (weights_of(whole.OUTPUT_DIR, step) for step in ("step1_rpn", "step2_fast_rcnn"))
    expected = {**{f"proposal_generator.{name}": tensor for name, tensor in rpn.items()}, **detector}
    assert final.keys() == expected.keys()
    assert all(torch.equal(final[name], expected[name]) for name in expected)
    assert states(cfg) == ["given", "given"]
    assert "AP50" in results["bbox"]


def test_a_second_time_nothing_changes(whole, tmp_path):
    cfg, first = _put_together(whole, tmp_path, "rpn")
    again = _put_together(whole, tmp_path, "rpn")[1]
    assert again["box_proposals"] == pytest.approx(first["box_proposals"], rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize("schedule, lacking", [("unshared", "step1_rpn and step2_fast_rcnn"), ("rpn", "step1_rpn")])
def test_without_anything_given_it_is_refused(whole, tmp_path, schedule, lacking):
    problems = problems_of(another(whole, tmp_path, "none", SCHEDULE__NAME=schedule))
    assert len(problems) == 1 and f"nothing is given for {lacking}" in problems[0]
