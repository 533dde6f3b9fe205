"""The two-class head against a plain softmax over its 2A channels."""

import frcnn_alt  # noqa: F401, I001
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead

from frcnn_alt.modeling.proposal_generator import SoftmaxRPNHead


def plain_forward(head, feature):
    """Class logits of shape (N, 2, A, H, W), straight from the parameters, and the deltas."""
    hidden = F.relu(F.conv2d(feature, head.conv.weight, head.conv.bias, padding=1))
    logits = F.conv2d(hidden, head.objectness_logits.weight, head.objectness_logits.bias)
    deltas = F.conv2d(hidden, head.anchor_deltas.weight, head.anchor_deltas.bias)
    return logits.view(len(feature), 2, -1, *logits.shape[-2:]), deltas


def test_parameters_of_vgg16():
    head = SoftmaxRPNHead(in_channels=512, num_anchors=9)
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    assert shapes == {
        "conv.weight": (512, 512, 3, 3),
        "conv.bias": (512,),
        "objectness_logits.weight": (18, 512, 1, 1),
        "objectness_logits.bias": (18,),
        "anchor_deltas.weight": (36, 512, 1, 1),
        "anchor_deltas.bias": (36,),
    }
    # paper 3.1.1: (4 + 2) x 9 outputs of 512 inputs
    outputs = head.objectness_logits.weight.numel() + head.anchor_deltas.weight.numel()
    assert outputs == 512 * (4 + 2) * 9 == 27648
    assert round(head.conv.weight.numel() + outputs, -5) == 2.4e6


def test_the_hidden_layer_has_as_many_channels_as_its_input():
    for channels in (256, 512):  # ZF, VGG-16
        assert SoftmaxRPNHead(in_channels=channels, num_anchors=9).conv.out_channels == channels


def test_twelve_anchors_of_coco():
    head = SoftmaxRPNHead(in_channels=8, num_anchors=12)
    assert (head.objectness_logits.out_channels, head.anchor_deltas.out_channels) == (24, 48)


def test_start_values():
    torch.manual_seed(0)
    head = SoftmaxRPNHead(in_channels=256, num_anchors=9)
    for name, parameter in head.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        else:
            assert parameter.std().item() == pytest.approx(0.01, rel=0.05)
            assert abs(parameter.mean().item()) < 0.0005
    # of the difference that detectron2 sees, the deviation is the square root of 2 larger
    background, foreground = head.objectness_logits.weight.chunk(2)
    assert (foreground - background).std().item() == pytest.approx(0.01 * 2**0.5, rel=0.05)


def test_sigmoid_of_the_output_is_the_softmax_probability_of_the_second_block():
    torch.manual_seed(1)
    head = SoftmaxRPNHead(in_channels=5, num_anchors=3)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = [torch.randn(2, 5, 4, 6), torch.randn(2, 5, 2, 3)]
    logits, deltas = head(features)
    for feature, level_logits, level_deltas in zip(features, logits, deltas):
        class_logits, plain_deltas = plain_forward(head, feature)
        torch.testing.assert_close(level_logits.sigmoid(), class_logits.softmax(dim=1)[:, 1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(level_deltas, plain_deltas)


def test_cross_entropy_on_the_difference_is_the_softmax_loss_with_the_same_gradients():
    torch.manual_seed(2)
    head = SoftmaxRPNHead(in_channels=5, num_anchors=3)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    feature, target = torch.randn(2, 5, 4, 6), torch.randint(0, 2, (2, 3, 4, 6))

    stock = F.binary_cross_entropy_with_logits(head([feature])[0][0], target.float())
    softmax = F.cross_entropy(plain_forward(head, feature)[0], target)
    torch.testing.assert_close(stock, softmax)
    parameters = [head.conv.weight, head.objectness_logits.weight, head.objectness_logits.bias]
    for ours, theirs in zip(torch.autograd.grad(stock, parameters), torch.autograd.grad(softmax, parameters)):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        assert ours.abs().max() > 0


def test_the_difference_learns_twice_as_fast_as_one_logit():
    """SPEC 4.1: two vectors are trained, each with the gradient that a sigmoid would give to one."""
    torch.manual_seed(3)
    softmax = SoftmaxRPNHead(in_channels=5, num_anchors=3)
    sigmoid = StandardRPNHead(in_channels=5, num_anchors=3)

    def difference():
        background, foreground = softmax.objectness_logits.weight.detach().chunk(2)
        return foreground - background

    with torch.no_grad():
        sigmoid.conv.load_state_dict(softmax.conv.state_dict())
        sigmoid.objectness_logits.weight.copy_(difference())
    feature, target = torch.randn(2, 5, 4, 6), torch.randint(0, 2, (2, 3, 4, 6)).float()
    before = difference()
    for head in (softmax, sigmoid):
        optimizer = torch.optim.SGD(head.objectness_logits.parameters(), lr=0.1)
        F.binary_cross_entropy_with_logits(head([feature])[0][0], target).backward()
        optimizer.step()
    step = sigmoid.objectness_logits.weight.detach() - before
    assert step.abs().max() > 1e-4
    torch.testing.assert_close(difference() - before, 2 * step, rtol=1e-3, atol=1e-7)


def test_decay_acts_on_two_vectors():
    """SPEC 4.1: without a loss both shrink as one sigmoid's weights would; beside a loss their difference, which learns
    twice as fast, is held back half as much.
    """
    torch.manual_seed(4)
    rate, decay = 0.1, 0.5
    head = SoftmaxRPNHead(in_channels=5, num_anchors=3)
    background, foreground = (block.clone() for block in head.objectness_logits.weight.detach().chunk(2))
    optimizer = torch.optim.SGD(head.parameters(), lr=rate, weight_decay=decay)
    slope = torch.randn_like(background)  # of a loss, in the difference
    (slope * torch.sub(*head.objectness_logits.weight.chunk(2)[::-1])).sum().backward()
    optimizer.step()
    decayed = head.objectness_logits.weight.detach().chunk(2)
    torch.testing.assert_close(decayed[0], (1 - rate * decay) * background + rate * slope)
    torch.testing.assert_close(decayed[1], (1 - rate * decay) * foreground - rate * slope)
    difference = (1 - rate * decay) * (foreground - background) - 2 * rate * slope
    torch.testing.assert_close(decayed[1] - decayed[0], difference)
