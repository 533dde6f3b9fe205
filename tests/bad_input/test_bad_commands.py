"""Command lines of every tool: words that are missing, unknown, out of range, or that lead nowhere."""

from frcnn_alt.engine import default_argument_parser
from frcnn_alt.engine.command_line import run_command_line

import pytest
import yaml
from refusals import train_net
from scripts import REPOSITORY, load_script

# Words -> parts of what is said. {config}, {run}, {out} and {tmp} are filled in.
TRAIN_NET = {
    "--steps nine": ["--steps"],
    "--steps 5-6": ["has steps 1 to 4"],
    "--steps 3-4": ["leaves out step2_fast_rcnn", "--from-run"],
    "--from-run {tmp}/nowhere --steps 4": ["has no manifest.json"],
    "--from-run {run}": ["stands in for no step"],
    "--import no_such_module": ["there is no such module"],
    "--import 3": ["there is no such module"],
    "--num-gpus two": ["--num-gpus", "invalid int value"],
    "--num-gpus 2 --machine-rank 5 --num-machines 2": ["--machine-rank 5"],
    "--resume=yes": ["--resume"],
    "--overlay {tmp}/nowhere.yaml": ["not found"],
    "--no-such-flag": ["--no-such-flag"],
}


def _fill(words, start, tmp_path):
    return [word.format(config=start.config, run=start.run, out=tmp_path / "out", tmp=tmp_path) for word in words]


@pytest.mark.parametrize("words", TRAIN_NET)
def test_train_net(words, start, refused, tmp_path):
    given = ["--config-file", start.config, *_fill(words.split(), start, tmp_path)]
    given += ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.WEIGHTS", ""]

    def command():
        from frcnn_alt.engine import main

        return run_command_line(main, default_argument_parser().parse_args(given))

    refused(command, *TRAIN_NET[words])


def test_a_dry_run_tells_the_same_and_writes_nothing(start, refused, tmp_path):
    words = ["--dry-run", "OUTPUT_DIR", tmp_path / "out", "MODEL.WEIGHTS", "", "SOLVER.GAMMA", "-1.0"]
    refused(train_net(start.config, *words), "SOLVER.GAMMA is -1.0", status=1)
    assert not (tmp_path / "out").exists()


def test_the_traceback_is_there_for_those_who_ask(start, tmp_path, monkeypatch):
    from frcnn_alt.engine import ConfigError
    from frcnn_alt.engine.failures import guarded

    monkeypatch.setenv("FRCNN_ALT_TRACEBACK", "1")
    with pytest.raises(ConfigError):
        guarded(train_net(str(tmp_path / "nowhere.yaml")))


TOOLS = {
    ("pretrain_backbone.py", "--config-file {tmp}/nowhere.yaml --output {out}/a.pth"): ["not found"],
    ("pretrain_backbone.py", "--config-file {config}"): ["give --output, or set MODEL.WEIGHTS"],
    ("pretrain_backbone.py", "--config-file {config} --output https://a/b.pth"): ["cannot be written to"],
    ("pretrain_backbone.py", "--config-file {config} --output {tmp}"): ["a folder: name a file in it"],
    ("pretrain_backbone.py", "--config-file {config} --output {config}/a.pth"): ["lies below"],
    ("pretrain_backbone.py", "--config-file {config} --output {config}"): ["was not made with this config"],
    ("pretrain_backbone.py", "--config-file {config} --output {out}/a.pth PRETRAIN.BATCH_SIZE 0"): ["BATCH_SIZE"],
    ("pretrain_backbone.py", "--config-file {config} --output {out}/a.pth PRETRAIN.IMAGE_SIZE 0"): ["IMAGE_SIZE"],
    ("pretrain_backbone.py", "--config-file {config} --output {out}/a.pth PRETRAIN.DATA {tmp}"): ["train/<class>"],
    ("pretrain_backbone.py", "--config-file {config} --output {out}/a.pth PRETRAIN.DATE a"): ["PRETRAIN.DATA"],
    ("make_proposals.py", ""): ["required"],
    ("make_proposals.py", "guess --config-file {config} --output {out}"): ["invalid choice"],
    ("make_proposals.py", "rpn --config-file {config}"): ["--output"],
    ("make_proposals.py", "rpn --config-file {config} --output {out} MODEL.WEIGHTS {tmp}/a.pth"): ["does not exist"],
    ("make_proposals.py", "rpn --config-file {config} --output {out} --processes 2"): ["rpn has no --processes"],
    ("make_proposals.py", "rpn --config-file {config} --output {out} --split half"): ["invalid choice"],
    ("make_proposals.py", "rpn --config-file {config} --output {config}"): ["is a file"],
    ("make_proposals.py", "edge_boxes --config-file {config} --output {out} --processes 0"): ["--processes 0"],
    ("make_proposals.py", "edge_boxes --config-file {config} --output {out} --boxes 0"): ["boxes"],
    ("make_proposals.py", "edge_boxes --config-file {config} --output {out} --boxes many"): ["--boxes"],
    ("make_proposals.py", "selective_search --config-file {config} --output {out} --boxes -1"): ["boxes"],
    ("make_proposals.py", "selective_search --config-file {config} --output {out} --width -5"): ["width"],
    ("make_proposals.py", "import --config-file {config} --output {out} --format zip --dataset d f"): ["--format"],
    ("make_proposals.py", "import --config-file {config} --output {out} --format detectron2 --dataset d f"): [
        "--dataset d"
    ],
    ("evaluate_proposals.py", "--config-file {config} --output {out}"): ["METHOD=FOLDER"],
    ("evaluate_proposals.py", "--config-file {config} --output {out} SS="): ["METHOD=FOLDER"],
    ("evaluate_proposals.py", "--config-file {config} --output {out} SS={tmp}/nowhere"): ["no proposal set at"],
    ("evaluate_proposals.py", "--config-file {config} --output {out} --limits 0 SS=a"): ["--limits"],
    ("evaluate_proposals.py", "--config-file {config} --output {out} --limits all SS=a"): ["--limits takes numbers"],
    ("evaluate_proposals.py", "--config-file {config} --output {out} --rule best SS=a"): ["invalid choice"],
    ("evaluate_proposals.py", "--config-file {config} --output {config} SS={run}/step1_rpn/proposals/images_test"): [
        "is a file"
    ],
    ("convert_weights.py", "--config-file {config} -o {out}/a.pth"): ["required"],
    ("convert_weights.py", "--config-file {config} {tmp}/nowhere.pth -o {out}/a.pth"): ["nowhere.pth"],
    ("convert_weights.py", "--config-file {config} {config} -o {out}/a.pth"): ["cannot be read as a checkpoint"],
    ("convert_weights.py", "--config-file {config} {run}/model_final.pth -o {run}/model_final.pth"): ["--overwrite"],
    ("convert_weights.py", "--config-file {config} {run}/model_final.pth --synonym a -o {out}/a.pth"): ["NAME=NAME"],
    ("convert_weights.py", "--config-file {config} {run}/model_final.pth --classes zoo -o {out}/a.pth"): ["no list of"],
    ("benchmark_parts.py", ""): ["--config-file"],
    ("benchmark_parts.py", "--config-file {tmp}/nowhere.yaml"): ["not found"],
    ("benchmark_parts.py", "--config-file {config} --images 0"): ["at least 1"],
    ("benchmark_parts.py", "--config-file {config} --image-size big"): ["HEIGHTxWIDTH"],
    ("benchmark_parts.py", "--config-file {config} --image-folder {tmp}/nowhere --random-weights"): ["not a folder"],
    ("benchmark_parts.py", "--config-file {config} --image-folder {tmp} --random-weights"): ["no image found"],
    ("benchmark_parts.py", "--config-file {config} --proposal-time fast"): ["--proposal-time"],
    ("benchmark_parts.py", "--config-file {config} --images 1 MODEL.WEIGHTS {tmp}/a.pth"): ["a.pth"],
    ("benchmark_parts.py", "--config-file {config} --images 1 --random-weights --output {config}"): ["is a file"],
    ("sweep.py", ""): ["No table file"],
    ("sweep.py", "{tmp}/nowhere.yaml --output {out}"): ["nowhere.yaml"],
    ("sweep.py", "{config} --output {out}"): ["mine.yaml"],
    ("sweep.py", "{table} --output {out} --seeds -1"): ["--seeds"],
    ("sweep.py", "{table} --output {out} --jobs 0"): ["--jobs 0"],
    ("sweep.py", "{table} --output {out} --base other=a.yaml"): ["no base of that name"],
    ("sweep.py", "{table} --output {out} --base a.yaml"): ["NAME=VALUE"],
    ("sweep.py", "{table} --output {out} --rows none"): ["none"],
    ("sweep.py", "{table} --output {config}"): ["is a file"],
    ("sweep.py", "{table} --output {out} SEED"): ["KEY VALUE"],
    ("sweep.py", "{table} --output {out} SOLVER.BASE_RL 1"): ["SOLVER.BASE_LR"],
    ("visualize.py", "--config-file {config} --output {out}"): ["--input"],
    ("visualize.py", "--config-file {config} --input {tmp}/nowhere.jpg --output {out}"): ["no such file or folder"],
    ("visualize.py", "--config-file {config} --input {tmp} --output {out}"): ["no image found"],
    ("visualize.py", "--config-file {tmp}/a.yaml --input {images} --output {out}"): ["not found"],
    ("visualize.py", "--config-file {config} --input {images} --output {out} MODEL.WEIGHTS {tmp}/a.pth"): [
        "does not exist"
    ],
    ("visualize.py", "--config-file {config} --input {images} --output {config}"): ["is a file"],
}


def _command(name, words):
    tool = load_script(f"tools/{name}")
    if name == "pretrain_backbone.py":
        return run_command_line(tool.run, tool.argument_parser().parse_args(words))
    if name == "sweep.py":
        return tool.run(tool.parse_arguments(words))
    if name == "visualize.py":
        return tool.visualize(tool.parse_arguments(words))
    return run_command_line(tool.run, tool.parse_arguments(words))


@pytest.mark.parametrize(("tool", "words"), TOOLS)
def test_tools(tool, words, start, refused, tmp_path):
    table = tmp_path / "table.yaml"
    table.write_text(
        yaml.safe_dump(
            {
                "title": "A table",
                "metrics": {"mAP": "bbox/AP50"},
                "columns": ["method"],
                "bases": {"mine": start.config},
                "networks": {"shared": {"base": "mine"}},
                "rows": [{"name": "one", "cells": ["RPN"], "network": "shared"}],
            }
        )
    )
    places = {"config": start.config, "run": start.run, "out": tmp_path / "out", "tmp": tmp_path / "empty"}
    (tmp_path / "empty").mkdir()
    places.update(table=table, images=start.root / "JPEGImages")
    given = [word.format(**places) for word in words.split()]
    refused(lambda: _command(tool, given), *TOOLS[tool, words], outputs=[tmp_path / "empty", start.run])


def test_every_tool_is_here():
    tools = {path.name for path in (REPOSITORY / "tools").glob("*.py")}
    assert tools == {tool for tool, _ in TOOLS} | {"train_net.py"}
