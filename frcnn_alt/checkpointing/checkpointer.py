"""detectron2's checkpointer, made crash-safe, and with more kinds of files to read.

Files are written beside and renamed, and nothing untrusted is unpickled. Overridden are the places where fvcore touches
the file system (`save`, `_load_file`) and, in front of `_load_model`, what foreign weights and the record of their
pixels ask for; naming, resume, `last_checkpoint` and the loading itself are detectron2's.
"""

import os
from typing import Any, Callable, Dict, Mapping, Optional

from detectron2.checkpoint import DetectionCheckpointer

from ..safe_write import write_text
from .components import match_initial_weights
from .fit import fit_to_model
from .pixels import check_pixels, pixels_of_model
from .read import read_checkpoint, weight_files, write_checkpoint
from .recorded import record_hash

__all__ = ["SafeCheckpointer"]


class SafeCheckpointer(DetectionCheckpointer):
    """DetectionCheckpointer whose files are either the old or the new one after a crash.

    It reads what `read_checkpoint` reads, Caffe's and torchvision's files included.
    """

    _weights = ""  # as it was asked for: a file, or the two of a pair
    before_save: Optional[Callable[[], None]] = None  # may raise: then nothing is written, and the last file stays
    record: Optional[Mapping[str, Any]] = None  # what files are to remember under "frcnn_alt", such as their classes

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` with the model, the checkpointables, `kwargs` and the `record`.

        Raises:
            WriteError: the file cannot be written (disk full, folder gone); the earlier checkpoint stays usable.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        if self.before_save is not None:
            self.before_save()
        data = {"model": self.model.state_dict()}
        data.update({key: checkpointable.state_dict() for key, checkpointable in self.checkpointables.items()})
        data.update(kwargs)
        if self.record:
            data["frcnn_alt"] = dict(self.record)
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        write_checkpoint(data, path)
        record_hash(path)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Point ``last_checkpoint`` at a file of the same folder, in one rename."""
        write_text(os.path.join(self.save_dir, "last_checkpoint"), last_filename_basename)

    def load(self, path: str, *args: Any, **kwargs: Any) -> Dict[str, Any]:
        """Load weights into the model, as ``DetectionCheckpointer.load``; `path` may name a pair (`weight_files`).

        Raises:
            CheckpointError: the file cannot be read or was trained on other pixels than the model will be fed; foreign
                weights do not fit the model; a layer of a file with a record has another shape than the model's, which
                is a warning to fvcore.
        """
        self._weights = path
        # fvcore wants to see one file that exists; a pair is read in _load_file.
        return super().load(weight_files(path)[0] if path else path, *args, **kwargs)

    def _load_file(self, filename: str) -> Dict[str, Any]:
        return read_checkpoint(self._weights if len(weight_files(self._weights)) > 1 else filename)

    def _load_model(self, checkpoint: Dict[str, Any]) -> Any:
        check_pixels(checkpoint.get("frcnn_alt", {}), pixels_of_model(self.model), self._weights)
        checkpoint.update(fit_to_model(checkpoint, self.model))
        if "frcnn_alt" in checkpoint:
            state = self.model.state_dict()
            match_initial_weights(state, {"": self._weights}, lambda source: checkpoint["model"], may_be_missing=("",))
        not_used = checkpoint.get("frcnn_alt", {}).get("not_used")
        if not_used:
            self.logger.warning("%s: not used are the layers %s", self._weights, ", ".join(not_used))
        return super()._load_model(checkpoint)
