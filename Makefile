# make venv | demo | test | lint | format | clean    (plain `make` explains them)
#
# PYTHON is the interpreter that the environment is made from:  make venv PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
PIP := $(VENV_PYTHON) -m pip --quiet --no-input --disable-pip-version-check
DEMO_CONFIG := configs/demo/zf_4step_shapes.yaml
PYTEST_ARGS ?=

# Each stage of the environment leaves a stamp when it is complete: a second `make venv` has nothing to do, and an
# interrupted one repeats the stage that it was in.
STAMP := $(VENV)/.complete

.DELETE_ON_ERROR:
.PHONY: help venv demo test lint format clean

help:
	@echo "make venv    the environment in $(VENV): torch, detectron2, this package; about 100 s and 6 GB"
	@echo "make demo    train in four steps on generated images, evaluate, report; about 10 minutes on 2 cores"
	@echo "make test    the tests"
	@echo "make lint    the linter and the formatter's check;  make format  lets both mend what they can"
	@echo "make clean   remove $(VENV) and caches; keeps datasets/ and output/"

venv: $(STAMP)-package

# A detectron2 that PYTHON can already import is used instead of a second one. The environment then sees the packages of
# PYTHON, but everything that is installed here goes into $(VENV), so that PYTHON's own environment stays as it was.
# (venv's --system-site-packages would show the packages of the Python *below* PYTHON when PYTHON is itself in a venv.)
# The setuptools that a new environment may bring along is removed there, because it would hide that of PYTHON.
$(STAMP)-python:
	@echo "venv 1/4: making $(VENV) with $$("$(PYTHON)" --version) (seconds)"
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV)
	@if "$(PYTHON)" -c 'from detectron2 import __version__' 2>/dev/null; then \
	    echo "          it sees the packages of that Python, because detectron2 is among them"; \
	    site_packages=$$($(VENV_PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	    "$(PYTHON)" -c 'import site; \
	        folders = site.getsitepackages() + [site.getusersitepackages()]; \
	        print(*(f"import site; site.addsitedir({folder!r})" for folder in folders), sep="\n")' \
	        > "$$site_packages/packages-of-outer-python.pth" && \
	    $(PIP) uninstall --yes setuptools; \
	fi
	@touch $@

$(STAMP)-torch: $(STAMP)-python requirements/torch.txt
	@echo "venv 2/4: torch and torchvision (about a minute, 5 GB)"
	@$(PIP) install -r requirements/torch.txt
	@touch $@

$(STAMP)-detectron2: $(STAMP)-torch requirements/detectron2-dependencies.txt requirements/detectron2.txt
	@if $(VENV_PYTHON) -c 'from detectron2 import __version__' 2>/dev/null; then \
	    echo "venv 3/4: detectron2 is there already"; \
	else \
	    echo "venv 3/4: detectron2 0.6 and what it needs (about half a minute)" && \
	    $(PIP) install -r requirements/detectron2-dependencies.txt && \
	    $(PIP) install --no-deps --no-build-isolation --use-pep517 -r requirements/detectron2.txt; \
	fi
	@touch $@

# Exactly one OpenCV: ours only where there is none.
$(STAMP)-package: $(STAMP)-detectron2 setup.py
	@echo "venv 4/4: frcnn_alt itself, with pytest, hypothesis and ruff (seconds)"
	@extras=dev; $(VENV_PYTHON) -c 'import cv2' 2>/dev/null || extras=dev,opencv; \
	$(PIP) install --no-build-isolation --editable ".[$$extras]"
	@touch $@
	@echo "venv: complete; activate it with: source $(VENV)/bin/activate"

# --resume begins anew where there is nothing to go on with, so an interrupted demo is taken up by the same command.
demo: venv
	@echo "demo 1/3: generating the images (seconds)"
	@$(VENV_PYTHON) -m frcnn_alt.data.shapes --output datasets/shapes --seed 0
	@echo "demo 2/3: pre-training ZF-net on crops of them, in place of ImageNet (minutes)"
	@$(VENV_PYTHON) tools/pretrain_backbone.py --config-file $(DEMO_CONFIG) --resume
	@echo "demo 3/3: the four steps, the evaluation, the report (minutes)"
	@$(VENV_PYTHON) tools/train_net.py --config-file $(DEMO_CONFIG) --resume

test: venv
	@$(VENV_PYTHON) -m pytest --numprocesses auto --dist loadfile $(PYTEST_ARGS)

lint: venv
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .

format: venv
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
