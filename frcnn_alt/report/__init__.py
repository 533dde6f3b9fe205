"""What a run left behind, to look at: the final table, the report page, TensorBoard curves. Opens files, runs no model.

``python -m frcnn_alt.report RUN_DIR`` writes the report of any run folder anew.
"""

from .drawing import LabelledBox, class_color, draw_boxes
from .html import write_report
from .recall_figure import plot_recall_curves
from .recall_files import recall_summary, write_average_recall_csv, write_recall_csv, write_recall_json
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
    "plot_recall_curves",
    "read_run",
    "recall_summary",
    "write_average_recall_csv",
    "write_recall_csv",
    "write_recall_json",
    "write_report",
    "write_tensorboard",
]
