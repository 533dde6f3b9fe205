"""The manifest: what a run is, what each of its steps was made from, and what is finished.

A step is finished when its entry says so with the hash of its config and inputs, never because a file exists.
Format: one JSON object; see `Manifest.new` for the run's keys and ``plan.py`` for those of a step.
"""

import hashlib
import json
import math
import os
import sys
from typing import Any, Dict, List, Optional, Sequence

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..checkpointing import read_checkpoint
from .defaults import ConfigError
from .machine import describe_machine, describe_versions

__all__ = ["FINISHED", "GIVEN", "NO_MATTER", "PENDING", "RUNNING", "Manifest", "command_of_weights", "config_hash"]
__all__ += ["has_no_effect", "write_json", "write_text"]

# States of a step. "given": not trained in this run; its outputs are files of elsewhere.
PENDING, RUNNING, FINISHED, GIVEN = "pending", "running", "finished", "given"

# Keys that do not change what anything computes, but where, and how much is seen of it.
NO_MATTER = (
    "OUTPUT_DIR",
    "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
    "MODEL.DEVICE",
    "MODEL.ROI_HEADS.BOXES_PER_CHUNK_TEST",  # memory
)
# Keys whose value is no part of a step's hash.
_WITHOUT_EFFECT = (
    *NO_MATTER,
    "DATASETS.PROPOSAL_FILES_TRAIN",  # paths; their content's hash is among the inputs
    "DATASETS.PROPOSAL_FILES_TEST",
    "MODEL.WEIGHTS",  # likewise
    "MODEL.PIXEL_MEAN_IMAGE",  # likewise
    "SCHEDULE",  # a step's own values stand in SOLVER; the others' do not concern it
)
# ... but this one's effect on a step is among the step's inputs.
_AMONG_INPUTS = ("SCHEDULE.PROPOSALS.FLIPPED_IMAGES",)


def has_no_effect(key: str) -> bool:
    """Whether a config key (dotted) may change between a step's beginning and its resume."""
    return key not in _AMONG_INPUTS and any(key == name or key.startswith(f"{name}.") for name in _WITHOUT_EFFECT)


def _without_nan(data: Any) -> Any:
    """NaN (the AP of a class without objects) is no JSON: null takes its place."""
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and math.isnan(data) else data


def write_json(data: Any, path: str) -> None:
    """Write `data` beside `path` and rename it into place; NaN becomes null."""
    write_text(json.dumps(_without_nan(data), indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: str) -> None:
    """Write `text` beside `path` and rename it into place."""
    with open(f"{path}.partial", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.partial", path)


def config_hash(cfg: CfgNode, inputs: Dict[str, str], without: Sequence[str] = _WITHOUT_EFFECT) -> str:
    """Return the hex sha256 of what decides a step's result: its config, less keys without effect, and its inputs.

    Args:
        cfg: the step's config.
        inputs: name -> content hash of each file that the step starts from.
        without: keys that are left out.
    """
    cfg = cfg.clone()
    cfg.defrost()
    for key in without:
        node = cfg
        *nodes, last = key.split(".")
        for name in nodes:
            node = node[name]
        del node[last]
    # Not yaml, which writes a value that two keys share in memory as a reference to the other one.
    return hashlib.sha256(json.dumps([cfg, inputs], sort_keys=True).encode()).hexdigest()


def command_of_weights(path: str) -> Optional[List[str]]:
    """Return the command, word by word, that made a weight file, None where it does not say.

    Args:
        path: MODEL.WEIGHTS; `tools/pretrain_backbone.py` writes its command into its file.

    Raises:
        CheckpointError: it cannot be read.
    """
    if not path.endswith(".pth"):
        return None  # of another program
    command = read_checkpoint(path).get("frcnn_alt", {}).get("command")
    return [str(word) for word in command] if isinstance(command, list) else None


class Manifest:
    """The file ``manifest.json`` of a run folder, written at every change.

    Args:
        path: the file.
        data: its content.
    """

    def __init__(self, path: str, data: Dict[str, Any]):
        self.path = path
        self.data = data

    @classmethod
    def read(cls, output_dir: str) -> Optional["Manifest"]:
        """Read the manifest of a run folder, or return None where there is none.

        Raises:
            ConfigError: the file is there and is not a manifest.
        """
        path = os.path.join(output_dir, "manifest.json")
        if not os.path.exists(path):
            return None
        try:
            with open(path) as file:
                data = json.load(file)
            assert data["version"] == 1 and isinstance(data["steps"], list)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise ConfigError(
                f"{path} is not a manifest of this program, or is damaged: choose another OUTPUT_DIR, or begin anew "
                "with --overwrite."
            ) from error
        return cls(path, data)

    @classmethod
    def new(cls, output_dir: str, name: str, schedule: str, seed: int, steps: List[Dict[str, Any]]) -> "Manifest":
        """Begin a manifest whose `steps` (plan entries) are all pending; the file is written."""
        manifest = cls(
            os.path.join(output_dir, "manifest.json"),
            {
                "version": 1,
                "name": name,
                "schedule": schedule,
                "seed": seed,
                "command": sys.argv,
                "versions": describe_versions(),
                "machine": describe_machine(),
                "steps": steps,
            },
        )
        manifest.write()
        return manifest

    def write(self) -> None:
        """Write the file, on the main process."""
        if comm.is_main_process():
            write_json(self.data, self.path)

    def step(self, name: str) -> Dict[str, Any]:
        """Return the entry of the step called `name`; change it through `update_step`."""
        return next(entry for entry in self.data["steps"] if entry["name"] == name)

    def update_step(self, name: str, **values: Any) -> None:
        """Set keys of a step's entry and write the file."""
        self.step(name).update(values)
        self.write()

    def output_hash(self, step: str, proposals_of: Optional[str] = None, *, flipped: bool = False) -> str:
        """Return the sha256 of a finished step's model, or of its proposals over the data set `proposals_of`.

        Args:
            flipped: those over the flipped images of the data set.
        """
        outputs = self.step(step)["outputs"]
        proposals = outputs.get("flipped_proposals" if flipped else "proposals", {})
        return (proposals[proposals_of] if proposals_of else outputs["model"])["sha256"]
