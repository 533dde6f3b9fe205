"""The evaluation that all trainers share: detectron2's ``test`` over this package's loaders and evaluators."""

from typing import Any, Dict, List, Optional

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator, verify_results
from detectron2.utils import comm
from torch import nn

from ..data import SkippingLoader, build_test_loader, load_dataset_dicts, skipped_images
from ..evaluation import build_evaluator
from ..proposals import ProposalDatasetMapper
from ..safe_write import naming_errors
from .stored_proposals import open_proposal_sets

__all__ = ["Evaluates", "skipped_in_evaluation"]


def skipped_in_evaluation() -> Dict[str, Dict[str, str]]:
    """What results.json says of images that could not be read: {"skipped_images": file -> why}; {} without any.

    Every process has to call this.
    """
    skipped = skipped_images(of_all_processes=True)
    return {"skipped_images": skipped} if skipped else {}


class Evaluates:
    """The class methods by which detectron2's trainers evaluate, for trainers of the registry and of steps."""

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> SkippingLoader:
        """Build the test loader of a registered data set; with MODEL.LOAD_PROPOSALS its images have "proposals".

        Raises:
            ConfigError: DATASETS.PROPOSAL_FILES_TEST has not a whole proposal set for each of DATASETS.TEST.
        """
        mapper = None
        if cfg.MODEL.LOAD_PROPOSALS:
            sets = {dataset_name: open_proposal_sets(cfg, "TEST")[dataset_name]}
            mapper = ProposalDatasetMapper(cfg, False, proposal_sets=sets)
        return build_test_loader(cfg, load_dataset_dicts(dataset_name), mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Build the evaluator that fits the data set; detections go to ``OUTPUT_DIR/inference``."""
        return build_evaluator(cfg, dataset_name, cfg.OUTPUT_DIR)

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: Optional[List[DatasetEvaluator]] = None
    ) -> Dict[str, Any]:
        """Evaluate `model` on DATASETS.TEST, as ``DefaultTrainer.test``, and compare with TEST.EXPECTED_RESULTS."""
        with naming_errors(cfg.OUTPUT_DIR, of_writing_alone=True):  # of detectron2's evaluators
            results = DefaultTrainer.test.__func__(cls, cfg, model, evaluators)
        if cfg.TEST.EXPECTED_RESULTS and comm.is_main_process():
            verify_results(cfg, results)
        return results
