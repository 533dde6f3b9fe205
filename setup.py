"""Installation of frcnn_alt. detectron2 is not on the list: the package index has no project of that name (README)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "frcnn_alt" / "__init__.py").read_text("utf-8"), re.M).group(1)

setup(
    name="frcnn_alt",
    version=VERSION,
    description="Faster R-CNN with the paper's 4-step alternating training, as a detectron2 plugin",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    packages=find_packages(include=["frcnn_alt", "frcnn_alt.*"]),  # never a top-level `tools`: detectron2 0.6 has one
    python_requires=">=3.8",
    install_requires=[
        "torch",
        "torchvision",
        "fvcore>=0.1.5",
        "matplotlib>=3.6",
        "numpy",
        "Pillow",
        "protobuf>=3.20",
        "pycocotools>=2.0.2",
        "PyYAML",
        "tabulate",
        "tensorboard",
        "tqdm",
    ],
    extras_require={
        # Drawing (detectron2's Visualizer): any OpenCV wheel will do. Selective Search and EdgeBoxes: one with contrib.
        # Only one may be installed.
        "opencv": ["opencv-contrib-python-headless"],
        # MATLAB's .mat files: the release's mean image, published proposals.
        "matlab": ["scipy"],
        # Sweeps as jobs of a Slurm cluster.
        "slurm": ["submitit"],
        "dev": ["pytest", "pytest-xdist", "hypothesis", "ruff==0.17.5", "scipy", "submitit"],
    },
)
