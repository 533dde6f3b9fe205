"""Break one rule of the package at a time, on purpose, and see which test notices.

    python benchmarks/mutations.py                  # all of benchmarks/mutations.yaml, a Markdown table to the screen
    python benchmarks/mutations.py --only decode    # those whose rule contains the word; may be given again

Each mutation replaces a piece of text in a copy of the repository and runs the tests of the room concerned, and the
whole suite if these pass. A mutation that no test notices is a rule that nothing proves: the exit status is then 1.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
MUTATIONS = Path(__file__).with_name("mutations.yaml")
WHOLE_SUITE = ["tests", "--ignore=tests/test_mutations.py"]  # which asks whether the text to break is there
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "output", "datasets", "__pycache__", ".pytest_cache", ".hypothesis", "*.egg-info", ".gpu_site"
)


def read_mutations() -> List[Dict[str, str]]:
    """Return the mutations: rule, file, old and new text, tests (paths, separated by blanks)."""
    with open(MUTATIONS, encoding="utf-8") as file:
        return yaml.safe_load(file)


def mutated(mutation: Dict[str, str], root: Path) -> str:
    """Return the text of the mutated file.

    Raises:
        ValueError: the text to replace is not there exactly once, because the package has changed.
    """
    text = (root / mutation["file"]).read_text("utf-8")
    if text.count(mutation["old"]) != 1:
        raise ValueError(
            f"{mutation['rule']}: {mutation['file']} holds {mutation['old']!r} {text.count(mutation['old'])} times "
            f"instead of once; bring {MUTATIONS.name} up to date."
        )
    return text.replace(mutation["old"], mutation["new"])


def first_failure(root: Path, tests: List[str]) -> Optional[str]:
    """Run `tests` in the copy `root` up to the first failure; return its id, or None if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    if found is None:
        raise RuntimeError(f"pytest gave status {done.returncode} and names no test:\n{done.stdout}{done.stderr}")
    return found.group(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", action="append", metavar="WORDS", help="rules whose name contains them; may be given again"
    )
    arguments = parser.parse_args()
    wanted = arguments.only or [""]
    mutations = [m for m in read_mutations() if any(words in m["rule"] for words in wanted)]
    if not mutations:
        parser.error(f"no rule in {MUTATIONS.name} contains {arguments.only!r}")
    unnoticed = 0
    print("| rule broken | file | test that noticed |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        shutil.copytree(REPOSITORY, root, ignore=NOT_COPIED)
        for number, mutation in enumerate(mutations, start=1):
            path = root / mutation["file"]
            original = path.read_text("utf-8")
            path.write_text(mutated(mutation, root), "utf-8")
            noticed = first_failure(root, mutation["tests"].split()) or first_failure(root, WHOLE_SUITE)
            path.write_text(original, "utf-8")
            unnoticed += noticed is None
            print(f"| {mutation['rule']} | {mutation['file']} | {noticed or '**none**'} |", flush=True)
            print(f"{number}/{len(mutations)}", file=sys.stderr, flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
