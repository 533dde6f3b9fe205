"""TensorBoard events of a whole run: the steps' scalars one after another on a single axis of iterations.

detectron2 writes each step's own events from iteration 0, so that TensorBoard would lay the steps over each other.
"""

import os

from torch.utils.tensorboard import SummaryWriter

from .files import new_folder
from .run import read_run

__all__ = ["write_tensorboard"]


def write_tensorboard(run_dir: str) -> str:
    """Write ``tensorboard/`` of a run folder from the steps' metrics.json, in place of what was there.

    Iteration i of a step becomes i plus the iterations of all steps before it.

    Args:
        run_dir: the run's folder, finished or not.

    Returns:
        str: the folder with the one event file.

    Raises:
        ReportError: it is not a run folder, or one of its files is damaged.
    """
    run = read_run(run_dir)
    folder = os.path.join(run_dir, "tensorboard")
    with new_folder(folder) as partial:
        writer = SummaryWriter(partial)
        offset = 0
        for step in run.steps:
            for name, (iterations, values) in sorted(step.scalars.items()):
                for iteration, value in zip(iterations, values):
                    writer.add_scalar(name, value, offset + iteration)
            offset += step.max_iter if step.scalars else 0  # not for steps that this run has not trained
        writer.close()
    return folder
