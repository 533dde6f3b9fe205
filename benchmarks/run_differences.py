"""Two differences of docs/FIDELITY.md that only a trained run can show, in numbers.

AP50 (2): the original programs write detections as text, boxes to a tenth of a pixel and scores to three decimals, and
measure what they read again; here they are measured as they are. Statistics (6.3): step 4 takes over regressors that
step 2 trained under its own box statistics, so it matters how far step 4's are from these.

usage: python benchmarks/run_differences.py FOLDER_OF_A_FINISHED_RUN ...
"""

import argparse
from pathlib import Path
from typing import Tuple

from frcnn_alt.checkpointing import read_checkpoint
from frcnn_alt.evaluation.voc import voc_average_precision
from frcnn_alt.report.detections import read_detections

import numpy as np

TRANSFORM = "roi_heads.box_predictor.box2box_transform"


def ap50(path: Path, as_text: bool) -> float:
    """VOC 2007's AP at IoU 0.5 of a detections.jsonl, in percent, the mean over its classes."""
    classes, lines = read_detections(str(path))
    images = list(lines)
    box_decimals, score_decimals = (1, 3) if as_text else (9, 9)
    aps = []
    for label in range(len(classes)):
        found, truth = {}, {}
        for image in images:
            of_class, objects = image.labels == label, image.gt_labels == label
            boxes, scores = image.boxes[of_class], image.scores[of_class]
            found[image.image_id] = np.round(boxes, box_decimals), np.round(scores, score_decimals)
            truth[image.image_id] = image.gt_boxes[objects], image.gt_difficult[objects]
        aps.append(voc_average_precision(found, truth, np.array([0.5]), eleven_point=True)[0])
    return 100 * float(np.nanmean(aps))


def statistics(run: Path) -> Tuple[float, float, float]:
    """Smallest and largest ratio of step 4's deviations to step 2's, and the largest difference of their means."""
    two, four = (
        read_checkpoint(str(run / step / "model_final.pth"))["model"] for step in ("step2_fast_rcnn", "step4_fast_rcnn")
    )
    ratio = four[f"{TRANSFORM}.std"] / two[f"{TRANSFORM}.std"]
    means = (four[f"{TRANSFORM}.mean"] - two[f"{TRANSFORM}.mean"]).abs()
    return ratio.min().item(), ratio.max().item(), means.max().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished 4-step run")
    print("| run | data | AP50 | AP50 as text | step 4's deviations over step 2's | means differ by at most |")
    print("|---|---|---|---|---|---|")
    for run in parser.parse_args().runs:
        low, high, means = statistics(run)
        for path in sorted(run.glob("inference/*/detections.jsonl")):
            values = [f"{ap50(path, as_text):.3f}" for as_text in (False, True)]
            print(f"| {run.name} | {path.parent.name} | {' | '.join(values)} | {low:.2f} to {high:.2f} | {means:.3f} |")


if __name__ == "__main__":
    main()
