"""The engine: steps, schedules, and the trainers that run them."""

from . import schedules  # noqa: F401  registers them
from .assemble import assemble
from .checks import check_config
from .command_line import main, run_command_line
from .defaults import ConfigError, default_argument_parser, default_setup, setup_cfg
from .make_plan import make_plan
from .manifest import Manifest
from .network import FAST_RCNN, JOINT, ONE_STAGE, RPN, UNSHARED
from .plan import Plan
from .schedule import SCHEDULE_REGISTRY, Schedule, WholeNetwork, build_schedule
from .single_step import SingleStepTrainer
from .step import FILES, WEIGHTS, Step, configure_step
from .step_trainer import StepTrainer
from .trainer import AlternatingTrainer
from .trainer_registry import TRAINER_REGISTRY, build_trainer

__all__ = [
    "FAST_RCNN",
    "FILES",
    "JOINT",
    "ONE_STAGE",
    "RPN",
    "SCHEDULE_REGISTRY",
    "TRAINER_REGISTRY",
    "UNSHARED",
    "WEIGHTS",
    "AlternatingTrainer",
    "ConfigError",
    "Manifest",
    "Plan",
    "Schedule",
    "SingleStepTrainer",
    "Step",
    "StepTrainer",
    "WholeNetwork",
    "assemble",
    "build_schedule",
    "build_trainer",
    "check_config",
    "configure_step",
    "default_argument_parser",
    "default_setup",
    "main",
    "make_plan",
    "run_command_line",
    "setup_cfg",
]
