"""An iteration that is not finite changes no weight, stops the training with an address, or is skipped and counted."""

import os

from frcnn_alt.checkpointing import SafeCheckpointer, read_checkpoint
from frcnn_alt.engine.failures import guarded
from frcnn_alt.engine.nonfinite import FiniteGuard, NonFiniteError
from frcnn_alt.engine.saved_batch import read_batch

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn
from two_processes import on_two_processes

NAN, INF = float("nan"), float("inf")


class Toy(nn.Module):
    """Losses of a number a batch; "bad" in a batch says what goes wrong with it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(1, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 1)

    def forward(self, batch):
        numbers = torch.stack([one["image"] for one in batch])
        bad = batch[0].get("bad", "")
        features = self.body(numbers)
        if bad == "gradient":
            features.register_hook(lambda gradient: gradient * INF)
        if bad == "large":  # but finite, though its square is not
            features.register_hook(lambda gradient: gradient.sign() * 1e25)
        if bad == "forward":
            raise FloatingPointError("boxes are not finite")
        result = self.head(self.norm(features)).mean() ** 2
        return {"loss_a": result, "loss_b": 0 * result + (NAN if bad == "loss" else 1.0)}


def batch(number, bad=""):
    images = [{"image": torch.tensor([float(number + k)]), "file_name": f"{number}_{k}.jpg"} for k in (0, 1)]
    images[0]["bad"] = bad
    return images


def train(folder, batches, skips=0, model=None, scaler=None, guard_state=None):
    """Train the toy over `batches`; returns (model, guard, the state after each iteration)."""
    model = model or Toy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    trainer = SimpleTrainer(model, iter(batches), optimizer)
    if scaler is not None:
        trainer.grad_scaler = scaler
    trainer.iter = 0
    os.makedirs(folder, exist_ok=True)
    checkpointer = SafeCheckpointer(model, str(folder))
    guard = FiniteGuard(trainer, model, checkpointer, skips=skips)
    guard.kept_alive = trainer, checkpointer  # which it holds weakly
    guard.load_state_dict(guard_state or {})
    states = []
    with EventStorage(0) as storage:
        for iteration in range(len(batches)):
            trainer.iter = storage.iter = iteration
            with guard.iteration(iteration, iteration):
                trainer.run_step() if scaler is None else scaled_step(trainer)
            states.append(whole_state(model, optimizer))
        guard.latest = {name: value for name, (value, _) in storage.latest().items()}
    return model, guard, states


def scaled_step(trainer):
    """AMPTrainer's step, which asks for CUDA."""
    losses = trainer.model(next(trainer._data_loader_iter))
    trainer.optimizer.zero_grad()
    trainer.grad_scaler.scale(sum(losses.values())).backward()
    trainer._write_metrics(losses, 0.0)
    trainer.grad_scaler.step(trainer.optimizer)
    trainer.grad_scaler.update()


def whole_state(model, optimizer):
    momenta = [state["momentum_buffer"].clone() for state in optimizer.state.values()]
    return [*(tensor.clone() for tensor in model.state_dict().values()), *momenta]


def same(first, second):
    return len(first) == len(second) and all(map(torch.equal, first, second))


@pytest.mark.parametrize(
    "bad, told",
    [
        ("loss", r"loss_b is nan\. Images: 2_0.jpg, 2_1.jpg\..* finite: loss_b, a loss of the Toy \("),
        (
            "gradient",
            r"a gradient is not finite, though the loss is\. .* finite: the gradient of body.(weight|bias) \(",
        ),
        ("forward", r"boxes are not finite\. Images: 2_0.jpg, 2_1.jpg\."),
    ],
)
def test_it_stops_with_an_address_and_saves_the_batch(bad, told, tmp_path):
    model = Toy()
    with pytest.raises(NonFiniteError, match=rf"toys, iteration 2: {told}") as raised:
        train(tmp_path / "toys", [batch(0), batch(1), batch(2, bad)], model=model)
    assert "SOLVER.BASE_LR" in str(raised.value) and "SOLVER.CLIP_GRADIENTS.ENABLED" in str(raised.value)
    saved = read_batch(str(tmp_path / "toys" / "nonfinite_batch_0000002.pth"))
    assert (saved["iteration"], saved["seed"]) == (2, 2)
    assert [(one["file_name"], one["image"].item()) for one in saved["images"]] == [("2_0.jpg", 2.0), ("2_1.jpg", 3.0)]
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("bad", ["loss", "gradient", "forward"])
def test_a_skipped_iteration_leaves_no_trace(bad, tmp_path):
    """Neither in weights, weight decay and momentum, nor in the statistics that norms gather in the forward pass."""
    _, guard, states = train(tmp_path, [batch(0), batch(1, bad), batch(2)], skips=1)
    _, _, without = train(tmp_path, [batch(0), batch(2)])
    assert guard.skipped == 1 and guard.latest["nonfinite_skips"] == 1
    assert same(states[0], states[1]) and same(states[2], without[1]) and not same(states[1], states[2])


def test_a_gradient_that_is_only_large_is_the_optimizer_s(tmp_path):
    _, guard, states = train(tmp_path, [batch(0), batch(1, "large")])
    assert guard.skipped == 0 and max(tensor.abs().max() for tensor in states[1]) > 1e23


def test_as_many_in_a_row_as_the_key_says(tmp_path):
    rows = [batch(0), batch(1, "loss"), batch(2, "loss"), batch(3), batch(4, "loss")]
    assert train(tmp_path, rows, skips=2)[1].skipped == 3
    with pytest.raises(NonFiniteError, match="iteration 2"):
        train(tmp_path, rows, skips=1)


def test_the_count_in_a_row_outlives_a_resume(tmp_path):
    guard = train(tmp_path, [batch(0, "loss")], skips=1)[1]
    assert train(tmp_path, [batch(0)], skips=1, guard_state=guard.state_dict())[1].skipped == 1
    with pytest.raises(NonFiniteError, match="iteration 0"):
        train(tmp_path, [batch(1, "loss")], skips=1, guard_state=guard.state_dict())


def test_a_scaler_sees_what_overflowed_and_skips_by_itself(tmp_path):
    """Mixed precision: an overflow of the gradients is the scaler's, and a loss that is NaN is not."""
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    _, guard, states = train(tmp_path, [batch(0), batch(1, "gradient"), batch(2)], scaler=scaler)
    assert guard.skipped == 0 and scaler.get_scale() == 4.0
    assert same(states[0][:2], states[1][:2]) and not same(states[1][:2], states[2][:2])
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    _, guard, states = train(tmp_path, [batch(0), batch(1, "loss"), batch(2)], skips=1, scaler=scaler)
    assert guard.skipped == 1 and same(states[0], states[1]) and not same(states[1], states[2])
    with pytest.raises(NonFiniteError, match="loss_b is nan"):
        train(tmp_path, [batch(0), batch(1, "loss")], scaler=torch.amp.GradScaler("cpu"))
    with pytest.raises(NonFiniteError, match="iteration 31: a gradient is not finite"):  # no scale helps
        train(tmp_path, [batch(k, "gradient") for k in range(40)], scaler=torch.amp.GradScaler("cpu"))


def test_weights_that_overflowed_do_not_take_the_last_checkpoint_s_place(tmp_path):
    model, guard, _ = train(tmp_path / "toys", [batch(0)])
    checkpointer = SafeCheckpointer(model, str(tmp_path / "toys"))
    checkpointer.before_save = guard.check_weights
    checkpointer.save("model_0000000")
    guard.checkpointer = checkpointer
    with torch.no_grad():
        model.head.bias.fill_(INF)
    with pytest.raises(
        NonFiniteError, match=r"parameter head.bias \(0 NaN and 1 inf.*model_0000000.pth, is from before"
    ):
        checkpointer.save("model_0000001")
    assert read_checkpoint(checkpointer.get_checkpoint_file())["model"]["head.bias"].isfinite().all()
    assert sorted(os.listdir(tmp_path / "toys")) == ["checkpoints.sha256", "last_checkpoint", "model_0000000.pth"]


def test_it_is_one_line_and_status_1(tmp_path, capsys):
    assert guarded(lambda: train(tmp_path / "toys", [batch(0, "loss")]) and 0) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: toys, iteration 0: loss_b is nan") and error.count("\n") == 1


def one_rank_is_bad(folder, skips, bad):
    """Process 1 has a batch that is not finite; what both say, with the weights."""
    os.makedirs(folder, exist_ok=True)
    model = nn.parallel.DistributedDataParallel(Toy().train())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = [batch(0), batch(1, bad if comm.get_rank() == 1 else ""), batch(2)]
    trainer = SimpleTrainer(model, iter(batches), optimizer)
    checkpointer = SafeCheckpointer(model.module, folder)
    guard = FiniteGuard(trainer, model.module, checkpointer, skips=skips)
    with EventStorage(0) as storage:
        for iteration in range(3):
            trainer.iter = storage.iter = iteration
            try:
                with guard.iteration(iteration, iteration):
                    trainer.run_step()
            except NonFiniteError as error:
                return str(error)
    return guard.skipped, [parameter.tolist() for parameter in model.parameters()]


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_processes_stop_and_skip_together(bad, tmp_path):
    said = on_two_processes(one_rank_is_bad, str(tmp_path / "toys"), 0, bad)
    assert said[0] == said[1] and "toys, iteration 1: process 1: " in said[0]
    assert "nonfinite_batch_0000001_process1.pth" in said[0]
    first, second = on_two_processes(one_rank_is_bad, str(tmp_path / "toys"), 1, bad)
    assert first == second and first[0] == 1
