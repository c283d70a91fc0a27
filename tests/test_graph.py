"""The pictures of lesson 03: numbers of every node, arrows from left to right, and a drawing whose numbers are computed."""
import math
import re
from pathlib import Path

import pytest
import torch

from gpt_helpers.lessons import graph
from gpt_helpers.lessons.graph import draw_graph, gpt_for_gradients, plot_pulls, show_witnesses
from gpt_helpers.loss import calc_loss_batch

ROOT = Path(__file__).parent.parent


class Node:
    """As much of lesson 03's node as a picture needs."""

    def __init__(self, value, parents=(), grad=0.0):
        self.value, self.parents, self.grad = value, parents, grad

    def __add__(self, other):
        node = Node(self.value + other.value, (self, other), 1.0)
        node.back = lambda d_out: (d_out, d_out)
        return node


def doubled(x):
    def back(d_out):
        return (2 * d_out,)
    node = Node(2 * x.value, (x,), torch.tensor([1.0, -1.0]))
    node.back = back
    return node


def test_every_node_is_told_with_its_name_its_function_its_value_and_its_gradient():
    x, b = Node(1.5, grad=2.0), Node(-0.25, grad=-1.0)
    assert repr(draw_graph(x + b, "A sum", {"x": x, "b": b})) == (
        "From left to right:\nx: 1.500, gradient 2.000; b: −0.250, gradient −1.000; +: 1.250, gradient 1.000.")


def test_a_name_does_not_hide_what_a_node_was_made_by():
    y = doubled(Node(torch.tensor([1.0, -torch.inf])))
    assert "y (doubled): 2.000  −∞, gradient 1.000  −1.000" in repr(draw_graph(y, "Twice", {"y": y}))


def test_a_large_tensor_is_told_by_its_shape():
    x = Node(torch.zeros(2, 5), grad=torch.zeros(2, 3))
    assert "x: 2×5, gradient 0.000  0.000  0.000 0.000  0.000  0.000" in repr(draw_graph(doubled(x), "Twice", {"x": x}))


def test_a_number_that_rounds_to_nothing_has_no_sign():
    x = Node(-1e-9)
    assert "x: 0.000, gradient 0.000" in repr(draw_graph(doubled(x), "Twice", {"x": x}))


def test_a_node_stands_right_of_what_it_was_made_from_and_an_input_next_to_where_it_is_used():
    x, late = Node(1.0), Node(2.0)
    first = x + x
    end = first + late
    assert graph._columns(end) == {x: 0, first: 1, late: 1, end: 2}


def arrows(figure):
    return [patch for patch in figure.figure.axes[0].patches if isinstance(patch, graph.FancyArrowPatch)]


def test_a_value_goes_one_way_and_its_gradient_the_other():
    x = Node(1.0)
    forward, back = arrows(draw_graph(x + x, "Twice", {"x": x}))      # a node used twice has one pair of arrows
    assert (forward.get_linestyle(), back.get_linestyle()) == ("-", "--")


def test_the_pulls_are_p_minus_1_and_the_weakest_are_named():
    figure = plot_pulls([" the", " sea", " came", " in"], {"fresh": [0.0001] * 4, "table": [0.25, 0.9, 0.1, 0.5]})
    assert repr(figure) == ("A bar for each token.\nfresh, −1.00 at every token; "
                            "table, weakest at “sea” −0.10, “in” −0.50, “the” −0.75.")
    assert [bar.get_height() for bar in figure.figure.axes[1].patches] == pytest.approx([-0.75, -0.1, -0.9, -0.5])


def test_the_witnesses_are_shown_for_some_tensors_and_counted_for_all(monkeypatch):
    shown = []
    monkeypatch.setattr("gpt_helpers.plot.display", lambda data, raw: shown.append(data["text/plain"]))
    show_witnesses({"a": [(1.0, 1.0, 1.5), (9.0, 9.0, 9.0)], "b": [(2.0, 2.0, 2.0)]}, ["a"], "closely")
    assert shown == ["| largest gradient of | by hand | autograd | wiggled |\n|---|--:|--:|--:|\n"
                     "| a | 1.000000 | 1.000000 | 1.500000 |\n\n1 of 2 tensors are shown. All 2 agree closely."]


def test_in_the_gpt_for_gradients_no_number_is_0_or_1_that_would_hide_a_mistake():
    """A gain of 1 or a shift of 0 lets a wrong gradient pass; and every tensor has a gradient to compare."""
    model, inputs, targets = gpt_for_gradients(seed=1)
    assert inputs.shape == targets.shape == (3, 8) and model.training and model.cfg["drop_rate"] == 0
    calc_loss_batch(inputs, targets, model, "cpu").backward()
    for name, weight in model.named_parameters():
        assert weight.dtype == torch.float64 and weight.grad.abs().max() > 0, name
        assert not torch.isin(weight, torch.tensor([0.0, 1.0], dtype=torch.float64)).any(), name
    assert torch.equal(gpt_for_gradients(seed=1)[0].out_head.weight, model.out_head.weight)


def test_the_numbers_in_the_drawing_of_the_chain_rule_are_those_of_autograd():
    w1, w2 = torch.tensor(0.4, requires_grad=True), torch.tensor(-0.8, requires_grad=True)
    a = 1.5 * w1
    h = a.tanh()
    o = w2 * h
    e = o - 1
    loss = e * e
    forward = [a, h, o, e, loss]
    back = torch.autograd.grad(loss, [e, o, w2, h, a, w1])
    drawing = (ROOT / "images" / "03_chain_rule.svg").read_text(encoding="utf-8")
    drawn = [float(number.replace("−", "-")) for number in re.findall(r">(−?\d\.\d{3})<", drawing)]
    assert sorted(drawn) == sorted(round(number.item(), 3) for number in [*forward, *back])
    assert math.isclose(loss.item(), 2.044, abs_tol=5e-4)
