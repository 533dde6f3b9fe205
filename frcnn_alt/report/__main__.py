"""``python -m frcnn_alt.report RUN_DIR``: write a run folder's report and TensorBoard curves anew, print its table."""

import argparse
import sys

from . import ReportError, final_table, write_report, write_tensorboard


def main() -> int:
    """Parse the command line and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m frcnn_alt.report", description=__doc__.split(": ", 1)[1])
    parser.add_argument("run_dir", help="the OUTPUT_DIR of a run, finished or not")
    args = parser.parse_args()
    try:
        write_report(args.run_dir)
        write_tensorboard(args.run_dir)
        print(final_table(args.run_dir))
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
