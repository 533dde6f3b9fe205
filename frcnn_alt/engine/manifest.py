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

from .. import safe_write
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
    "DATALOADER.UNREADABLE_IMAGES",  # a run that stopped at an image may go on without it
    "DATALOADER.MAX_UNREADABLE_SHARE",
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
    "SOLVER.NONFINITE_SKIPS",  # no matter to a training that got as far as it did with another value
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
    safe_write.write_text(path, text)


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


def _is_step(entry: Any) -> bool:
    """Whether it can be a step's entry. Its name is a folder in the run's own, out of which no name leads.

    Files that an entry names may lie anywhere, as those of a step that was given do: they are read, and only when they
    have the hash that stands beside them; nothing of what a manifest names is written or removed.
    """
    if not isinstance(entry, dict) or entry.get("state") not in (PENDING, RUNNING, FINISHED, GIVEN):
        return False
    name, outputs, given = entry.get("name"), entry.get("outputs", {}), entry.get("given", {})
    return (
        isinstance(name, str)
        and name not in ("", os.curdir, os.pardir)
        and not any(mark in name for mark in ("/", os.sep, "\0"))
        and all(isinstance(mapping, dict) for mapping in (outputs, given))
        and all(_is_output(output) for kind, output in outputs.items() if kind == "model")
        and all(_are_outputs(outputs.get(kind, {})) for kind in ("proposals", "flipped_proposals"))
        and (not given or all(isinstance(given.get(key), str) for key in ("path", "sha256")))
        and isinstance(given.get("run"), (str, type(None)))
        and (entry.get("state") != FINISHED or "model" in outputs)
    )


def _is_output(output: Any) -> bool:
    return isinstance(output, dict) and all(isinstance(output.get(key), str) for key in ("path", "sha256"))


def _are_outputs(outputs: Any) -> bool:
    return isinstance(outputs, dict) and all(map(_is_output, outputs.values()))


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
            with open(path, encoding="utf-8") as file:
                data = json.load(file)
            assert data["version"] == 1 and isinstance(data["steps"], list)
            assert all(_is_step(entry) for entry in data["steps"])
        except (OSError, RecursionError, ValueError, KeyError, TypeError, AssertionError) as error:
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
