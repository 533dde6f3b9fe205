"""What one training draws at random: a function of its seed, the iteration and the process, and of nothing else."""

from frcnn_alt.engine import StepTrainer

import pytest
import torch
from detectron2.utils import comm
from miniature import tiny_config

ITERATIONS = 3


def draws(shapes, folder, seed=5, disturb=False):
    """Of each iteration, the numbers that dropout and the samples of anchors and regions would draw first."""
    cfg = tiny_config(shapes, folder)
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.IMS_PER_BATCH = ITERATIONS, (), 1
    trainer, drawn = StepTrainer(cfg, seed=seed), []

    def look(model, inputs):
        with torch.random.fork_rng():
            drawn.append(torch.rand(6).tolist())
        if disturb:  # whatever an iteration drew must not matter to the next one
            torch.rand(len(drawn))

    trainer.unwrapped_model.register_forward_pre_hook(look)
    trainer.train()
    assert len(drawn) == ITERATIONS
    return drawn


class OfSecondProcess:
    """detectron2's `comm` as the training sees it there; the loader goes on as in a single one."""

    def __getattr__(self, name):
        return (lambda: 1) if name == "get_rank" else getattr(comm, name)


@pytest.fixture(scope="module")
def expected(shapes, tmp_path_factory):
    return draws(shapes, tmp_path_factory.mktemp("run"))


def test_every_iteration_draws_other_numbers(expected):
    assert len({number for numbers in expected for number in numbers}) == 6 * ITERATIONS


def test_two_runs_draw_the_same_numbers(shapes, tmp_path, expected):
    torch.manual_seed(99)
    assert draws(shapes, tmp_path, disturb=True) == expected


def test_another_seed_and_another_process_draw_other_numbers(shapes, tmp_path, expected, monkeypatch):
    other = draws(shapes, tmp_path / "seed", seed=6)
    monkeypatch.setattr("frcnn_alt.engine.step_trainer.comm", OfSecondProcess())
    of_process = draws(shapes, tmp_path / "process")
    assert not {n for numbers in (*other, *of_process) for n in numbers} & {n for numbers in expected for n in numbers}
