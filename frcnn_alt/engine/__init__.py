"""The engine: steps, schedules, and the trainers that run them."""

from .assemble import assemble
from .checks import check_config
from .command_line import main, run_command_line
from .defaults import ConfigError, default_argument_parser, default_setup, setup_cfg
from .manifest import Manifest
from .plan import Plan, make_plan
from .schedule import SCHEDULE_REGISTRY, Schedule, build_schedule
from .single_step import SingleStepTrainer
from .step import FAST_RCNN, RPN, WEIGHTS, Step, configure_step
from .step_trainer import StepTrainer
from .trainer import AlternatingTrainer
from .trainer_registry import TRAINER_REGISTRY, build_trainer

__all__ = [
    "FAST_RCNN",
    "RPN",
    "SCHEDULE_REGISTRY",
    "TRAINER_REGISTRY",
    "WEIGHTS",
    "AlternatingTrainer",
    "ConfigError",
    "Manifest",
    "Plan",
    "Schedule",
    "SingleStepTrainer",
    "Step",
    "StepTrainer",
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
