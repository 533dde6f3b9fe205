"""What a run left behind, to look at: the final table, the report page, TensorBoard curves. Opens files, runs no model.

``python -m frcnn_alt.report RUN_DIR`` writes the report of any run folder anew.
"""

from .drawing import LabelledBox, class_color, draw_boxes
from .html import write_report
from .run import ReportError, Run, StepRecord, read_run
from .table import final_table
from .tensorboard import write_tensorboard

__all__ = [
    "LabelledBox",
    "ReportError",
    "Run",
    "StepRecord",
    "class_color",
    "draw_boxes",
    "final_table",
    "read_run",
    "write_report",
    "write_tensorboard",
]
