"""The network's parts, registered in detectron2's own registries. They know nothing of steps and schedules."""

from . import anchor_generator, backbone, box_regression, meta_arch, proposal_generator, roi_heads

__all__ = ["anchor_generator", "backbone", "box_regression", "meta_arch", "proposal_generator", "roi_heads"]
