"""The race of lesson 04: its instruments measure what they say, its table is whole, its claims hold for every seed."""
import math
import xml.etree.ElementTree as ET
from functools import partial
from statistics import fmean
from types import SimpleNamespace

import nbformat
import optimizer_race
import pytest
import torch
import valley_picture
from optimizer_race import TUNING, SharedAdam
from torch import nn

from gpt_helpers.lessons.adamw import plot_frequencies, plot_lines, plot_race, show_race, show_sizes, show_steps
from gpt_helpers.lessons.race import (
    FREQUENCIES,
    RACE,
    contrasting,
    distances,
    first_step,
    forty_steps,
    lonely_tokens,
    losses_by_frequency,
    move_sizes,
    moves,
    raced,
    read_race,
    record_steps,
    same_bits,
    small_gpt,
    token_rows,
    toy_examples,
    train_steps,
    weight_path,
)

RUNS = read_race(optimizer_race.PATH)
STORED = raced(optimizer_race.PATH)


# Its instruments

class Counter(nn.Module):
    """A model that knows only how often each of three tokens occurs."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))

    def forward(self, ids):
        return self.logits.expand(*ids.shape, 3)


def test_a_step_for_each_batch_and_its_gradient_is_there_to_look_at():
    model, batches = Counter(), [(torch.tensor([[0, 1]]), torch.tensor([[1, 1]]))] * 3
    steps = train_steps(model, torch.optim.SGD(model.parameters(), lr=1.0), batches, epochs=2)
    first = next(steps)
    assert model.logits.grad.tolist() == pytest.approx([1 / 3, -2 / 3, 1 / 3])
    rest = list(steps)
    assert len(rest) == 5 and first > rest[0] > rest[-1]


def test_forty_steps_with_one_batch_have_the_loss_before_each_and_after_the_last():
    model, batch = Counter(), (torch.tensor([[0, 1]]), torch.tensor([[1, 1]]))
    losses = forty_steps(model, torch.optim.SGD(model.parameters(), lr=1.0), batch)
    assert losses[0] == pytest.approx(math.log(3)) and len(losses) == 41 and losses == sorted(losses, reverse=True)


def test_a_seed_gives_the_same_gpt_and_the_same_shuffling_after_it():
    first, drawn, again, drawn_again = small_gpt(5, seed=1), torch.randperm(9), small_gpt(5, seed=1), torch.randperm(9)
    assert all(map(torch.equal, first.parameters(), again.parameters())) and drawn.tolist() == drawn_again.tolist()
    assert not torch.equal(first.tok_emb.weight, small_gpt(5, seed=2).tok_emb.weight)


def test_tokens_are_sorted_by_how_often_they_occur_and_missing_kinds_left_out():
    ids = torch.tensor([7] + [0] * 12 + [1, 1, 1, 2, 2, 3])      # 0 twelve times, 1 thrice, 2 twice, 3 and 7 once
    losses = torch.tensor([5.0] * 12 + [3.0] * 3 + [1.0, 1.0, 4.0])
    assert losses_by_frequency(losses, ids) == {"once or twice": 2.0, "3 to 9 times": 3.0, "10 to 99 times": 5.0}


def test_moves_are_told_in_units_of_the_learning_rate():
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    weight.grad = torch.tensor([3.0, -4.0])
    assert [move.tolist() for move in moves([weight], (optimizer.step() for _ in range(2)), lr=0.5)] == [[-3, 4]] * 2


def test_the_sizes_of_moves_leave_out_what_does_not_move():
    weight = nn.Parameter(torch.zeros(102))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    weight.grad = torch.tensor([0.0, *range(-100, 1)])
    sizes = move_sizes([weight], (optimizer.step() for _ in range(1)), lr=0.5)
    assert [size.tolist() for size in sizes] == [pytest.approx([share]) for share in (5.95, 50.5, 95.05)]
    weight.grad.zero_()
    assert [size.tolist() for size in move_sizes([weight], (optimizer.step() for _ in range(2)), lr=0.5)] == [[0, 0]] * 3


def test_the_first_step_is_told_with_its_gradients():
    model = Counter()
    model.logits.grad = torch.tensor([2.0, 0.0, -4.0])
    gradients, step = first_step(model, torch.optim.SGD(model.parameters(), lr=0.5), lr=0.5)
    assert gradients.tolist() == [2, 0, -4] and step.tolist() == [-2, 0, 4]


def test_the_rows_of_tokens_are_those_of_the_embedding_then_those_of_the_output_layer():
    model = small_gpt(5, seed=1)
    rows = token_rows(model, [3, 1])
    wanted = [model.tok_emb.weight[3], model.tok_emb.weight[1], model.out_head.weight[3], model.out_head.weight[1]]
    assert all(map(torch.equal, rows, wanted))


def test_the_record_of_a_weight_is_what_pytorch_holds_after_each_step():
    model, batches = Counter(), [(torch.tensor([[0, 1]]), torch.tensor([[1, 1]]))] * 3
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
    before, gradients, held = record_steps(model.logits, optimizer, train_steps(model, optimizer, batches))
    assert before.tolist() == [0, 0, 0] and gradients.shape == (3, 3)
    assert gradients[0].tolist() == pytest.approx([1 / 3, -2 / 3, 1 / 3])
    assert torch.allclose(held["m"][1], 0.09 * gradients[0] + 0.1 * gradients[1])
    assert torch.allclose(held["v"][0], 0.001 * gradients[0].square())
    assert held["w"][0].tolist() == pytest.approx([-0.1, 0.1, -0.1]) and torch.equal(held["w"][2], model.logits.detach())


def test_distances_start_at_0_and_are_measured_from_there():
    table = nn.Parameter(torch.zeros(3, 2))
    optimizer = torch.optim.SGD([table], lr=1.0)
    table.grad = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    assert distances([table[0], table[1]], (optimizer.step() for _ in range(2))) == [[0, 5, 10], [0, 0, 0]]


def test_a_lonely_token_is_in_the_first_batch_only():
    batches = [(torch.tensor([[4, 1, 2]]), None), (torch.tensor([[1, 5, 5]]), None)]
    assert lonely_tokens(batches) == [2, 4]


def test_of_two_contrasting_weights_one_is_steady_and_one_loud():
    gradients = torch.tensor([[1.0, 9.0, 2.0, 0.1, 30.0], [1.0, -9.0, -1.0, -0.1, 20.0]])
    assert contrasting(gradients) == (0, 1)


# AdamW by hand

BY_HAND = next(cell.source for cell in nbformat.read(valley_picture.LESSON, 4).cells if cell.id == "by-hand")


@pytest.mark.parametrize(("line", "instead", "same"), [
    ("m.lerp_(p.grad, 1 - beta1)", "m.lerp_(p.grad, 1 - beta1)", True),
    ("m.lerp_(p.grad, 1 - beta1)", "m.copy_(beta1 * m + (1 - beta1) * p.grad)", False),
    ("addcmul_(p.grad, p.grad, value=1 - beta2)", "add_((1 - beta2) * p.grad ** 2)", False)])
def test_bits_are_the_same_after_the_same_operations_and_not_after_the_same_formula(line, instead, same):
    names = {"torch": torch}
    assert line in BY_HAND
    exec(BY_HAND.replace(line, instead), names)
    models = [small_gpt(7, seed=1) for _ in range(2)]
    by_hand = names["HandmadeAdamW"](models[0].parameters(), lr=0.01)
    reference = torch.optim.AdamW(models[1].parameters(), lr=0.01, foreach=False)
    inputs = torch.arange(64).reshape(2, 32) % 7
    for model, optimizer in zip(models, (by_hand, reference), strict=True):
        list(train_steps(model, optimizer, [(inputs, (inputs + 1) % 7)] * 5))
    assert same_bits(by_hand, reference) is same
    assert all(torch.allclose(p, q, atol=1e-3) for p, q in zip(*(model.parameters() for model in models), strict=True))


def test_large_gradients_divide_the_decay_of_l2_away_and_that_of_adamw_never():
    l2_large, l2_small = (weight_path(torch.optim.Adam, g) for g in (10.0, 0.01))
    adamw_large, adamw_small = (weight_path(torch.optim.AdamW, g) for g in (10.0, 0.01))
    assert len(l2_large) == 101 and l2_large[0] == 1 and l2_large[-1] > 0.95 > 0.3 > l2_small[-1]
    assert adamw_large[-1] == pytest.approx(adamw_small[-1], abs=0.02) == pytest.approx(0.999**100, abs=0.02)


# The controls: Adam with one v for many weights

def steps_of(optimizer, weight, gradients):
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("share", ["tensor", "model"])
def test_where_all_gradients_are_as_large_a_shared_v_changes_nothing(share):
    gradients = [scale * torch.tensor([1.0, -1.0, 1.0]) for scale in (3.0, -0.5, 2.0, 1.0)]
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    assert torch.allclose(steps_of(SharedAdam([ours], lr=0.1, share=share), ours, gradients),
                          steps_of(torch.optim.Adam([theirs], lr=0.1), theirs, gradients))


def test_under_a_shared_v_a_small_gradient_makes_a_small_step_and_under_adam_it_does_not():
    gradients = [torch.tensor([1.0, 0.01])]
    for make, ratio in ((partial(SharedAdam, share="tensor"), 0.01), (torch.optim.Adam, 1.0)):
        weight = nn.Parameter(torch.zeros(2))
        loud, quiet = steps_of(make([weight], lr=0.1), weight, gradients).tolist()
        assert quiet / loud == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize(("share", "ratio"), [("tensor", 1.0), ("model", 0.01)])
def test_a_tensor_of_small_gradients_has_steps_of_its_own_unless_the_whole_model_shares_one_v(share, ratio):
    loud, quiet = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    loud.grad, quiet.grad = torch.ones(2), torch.full((3,), 0.01)
    SharedAdam([loud, quiet], lr=0.1, share=share).step()
    assert quiet[0].item() / loud[0].item() == pytest.approx(ratio, rel=1e-4)


# Its table

def test_the_stored_table_has_every_rate_with_the_tuning_seeds_and_the_best_one_with_the_others():
    lines = {(run["rule"], run["rate"], run["seed"]): run for run in RUNS}
    wanted = {(rule, rate, seed) for rule, (_, rates) in optimizer_race.RULES.items() for rate in rates for seed in TUNING}
    wanted |= {(rule, optimizer_race.best_rate(lines, rule), seed) for rule in optimizer_race.RULES for seed in RACE}
    assert set(lines) == wanted and len(RUNS) == len(wanted)


@pytest.mark.parametrize("rule", optimizer_race.RULES)
def test_the_best_rate_is_not_the_smallest_or_the_largest_that_was_tried(rule):
    lines = {(run["rule"], run["rate"], run["seed"]): run for run in RUNS}
    assert optimizer_race.best_rate(lines, rule) in optimizer_race.RULES[rule][1][1:-1]


def test_what_the_lesson_claims_of_the_race_holds_for_each_of_its_seeds():
    groups = list(FREQUENCIES)
    for sgd, momentum, adam, adamw, of_tensor, of_all in zip(*STORED.values(), strict=True):
        assert sgd["train"] - 1 > adam["train"] and sgd["train"] > momentum["train"] > adamw["train"] > adam["train"]
        assert sgd["validation"] < momentum["validation"] < adamw["validation"] < adam["validation"]
        lead = [sgd[group] - adam[group] for group in groups]
        assert lead[0] == max(lead)
        harm = [of_tensor[group] - adam[group] for group in groups]
        cure = [of_all[group] - of_tensor[group] for group in groups]
        assert harm[0] == max(harm) > 0.5 and min(harm) > 0 and cure[0] < min(cure[2:])


def test_with_one_v_a_tensor_the_rarest_tokens_are_as_badly_off_as_with_one_for_all_and_the_common_ones_nearly_cured():
    rules = ("Adam", "Adam, one v a tensor", "Adam, one v for all")
    rare, common = ([fmean(run[group] for run in STORED[rule]) for rule in rules]
                    for group in ("once or twice", "100 times or more"))
    assert rare[1] - rare[0] > 5 * abs(rare[2] - rare[1])
    assert common[2] - common[1] > common[1] - common[0] > 0


def test_the_script_keeps_the_lines_that_are_there_and_runs_what_is_missing(tmp_path, monkeypatch):
    """The short form: one rule, two rates, a step of training each."""
    monkeypatch.setattr(optimizer_race, "PATH", tmp_path / "table.csv")
    monkeypatch.setattr(optimizer_race, "RULES", {"SGD": (torch.optim.SGD, (0.5, 1e-6))})
    monkeypatch.setattr(optimizer_race, "TUNING", [1])
    monkeypatch.setattr(optimizer_race, "RACE", [2, 3])
    ran, train = [], optimizer_race.train_steps
    monkeypatch.setattr(optimizer_race, "train_steps", lambda model, optimizer, loader, epochs: (
        ran.append(1), train(model, optimizer, list(loader)[:3]))[1])
    optimizer_race.main()
    runs = read_race(tmp_path / "table.csv")
    assert [(run["rate"], run["seed"]) for run in runs] == [(0.5, 1), (1e-6, 1), (0.5, 2), (0.5, 3)]
    assert runs[0]["train"] < runs[1]["train"]
    optimizer_race.main()
    assert len(ran) == 4 and read_race(tmp_path / "table.csv") == runs


def test_a_training_that_diverged_is_never_the_best():
    lines = {("SGD", rate, seed): {"train": float("nan") if rate > 0.4 else 3.0}
             for rate in optimizer_race.RULES["SGD"][1] for seed in TUNING}
    assert optimizer_race.best_rate(lines, "SGD") == 0.35


@pytest.mark.slow
def test_a_stored_line_is_what_the_training_gives():
    torch.set_num_threads(1)
    again, stored = optimizer_race.one_line("Adam", 0.01, 4), STORED["Adam"][0]
    assert again["train"] == pytest.approx(stored["train"], rel=0.2)      # other processors round otherwise


# How it is shown

@pytest.fixture
def shown(monkeypatch):
    """The lines of the tables that are displayed."""
    lines = []
    monkeypatch.setattr("gpt_helpers.plot.display", lambda data, raw: lines.extend(data["text/markdown"].splitlines()))
    return lines


def test_the_table_of_the_race_has_means_spreads_and_ones_own_run(shown):
    show_race({"SGD": [{"rate": 1.4, "train": 2.0}, {"rate": 1.4, "train": 4.0}]}, ["train"], {"SGD": torch.tensor([1.0, 2.0])})
    assert shown[-1] == "| SGD | 1.4 | 3.00 ± 1.41 | 1.50 |"


def test_the_table_of_a_weight_has_pytorchs_numbers_under_ours_and_refuses_others(shown):
    ours = [{"m": 1.0, "update": 0.5}, {"m": 2.0, "update": 0.25}]
    show_steps(ours, {"m": [1.0, 2.0]})
    assert shown[2:] == [
        "| m | 1.00e+00 | 2.00e+00 |", "| torch m | 1.00e+00 | 2.00e+00 |", "| update | 5.00e-01 | 2.50e-01 |"]
    with pytest.raises(ValueError, match="our m and PyTorch's disagree"):
        show_steps(ours, {"m": [1.0, 2.1]})


def test_the_table_of_sizes_leaves_out_steps_that_were_not_made(shown):
    show_sizes(torch.tensor([1.0, 0.25]), torch.tensor([1.0, 0.5]), torch.tensor([1.0, 1.0]), steps=(1, 2, 5))
    assert shown[2:] == ["| 1 | 1.00 | 1.00 and 1.00 |", "| 2 | 0.50 | 0.25 and 1.00 |"]


def test_the_figures_say_what_they_show():
    here = {"SGD": {"once or twice": 3.0, "3 to 9 times": 2.0}, "Adam": {"once or twice": 0.5, "3 to 9 times": 1.0}}
    words = repr(plot_frequencies(here, {rule: [losses] * 4 for rule, losses in here.items()}))
    assert "of 4 stored runs" in words and words.endswith("SGD 3.0, 2.0; Adam 0.5, 1.0.")
    assert repr(plot_race({"SGD": [4.0, 2.0, 2.0, 1.0]}, epoch=2)) == "SGD goes from 3.00 to 1.50."
    for log in (False, True):
        words = repr(plot_lines({"a": [1.0, 2.0, 4.0], "b": [3.0, 3.0, 3.0]}, "Title", "loss", log=log))
        assert words == f"A line each, over 2 steps: a from 1.00 to {'far above' if log else '4.00'}; b from 3.00 to 3.00."


# The valley

@pytest.fixture(scope="module")
def lesson():
    return SimpleNamespace(**valley_picture.lesson())


def test_five_of_the_forty_examples_have_the_rare_feature_and_all_the_common_one_which_is_large():
    z = toy_examples()
    assert (z != 0).sum(dim=0).tolist() == [5, 40]
    assert z[:, 1].abs().mean() > 2 * z[z[:, 0] != 0, 0].abs().mean()


def test_doubt_makes_the_gradient_of_the_cross_entropy(lesson):
    for w in lesson.paths["SGD"][::10]:
        assert torch.allclose(torch.func.grad(lesson.toy_loss)(w), lesson.toy_gradient(w))


def test_adam_and_adamw_move_the_rare_weight_furthest_in_ten_steps(lesson):
    gone = {name: (path[10] - path[0])[0].item() for name, path in lesson.paths.items()}
    assert min(gone["Adam"], gone["AdamW"]) > 2 * max(gone["SGD"], gone["momentum"]) > 0


def test_at_nearly_twice_the_rate_sgd_ends_nearly_as_low_as_adam_and_at_four_times_it_leaves_the_valley(lesson):
    adam = lesson.toy_loss(lesson.paths["Adam"][-1])
    assert 0 < lesson.toy_loss(lesson.walk(lesson.sgd_step, 0.9)[-1]) - adam < 0.01
    assert lesson.toy_loss(lesson.walk(lesson.sgd_step, 2.0)[-1]) > 1


# The valley in motion

@pytest.fixture(scope="module")
def valley():
    return valley_picture.valley()


def test_the_picture_of_the_valley_is_the_one_that_its_script_draws(valley):
    """When the lesson's valley has changed: python scripts/valley_picture.py."""
    assert valley_picture.draw(*valley) == valley_picture.PICTURE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "make"), [
    ("SGD", lambda w: torch.optim.SGD(w, lr=0.5)), ("Adam", lambda w: torch.optim.Adam(w, lr=0.15)),
    ("AdamW", lambda w: torch.optim.AdamW(w, lr=0.15, weight_decay=0.5))])
def test_the_paths_that_are_drawn_are_those_of_pytorchs_optimizers(valley, name, make):
    """Read off the picture, against the loss by autograd and the step by PyTorch."""
    _, loss = valley
    drawn = next(line.get("points") for line in ET.parse(valley_picture.PICTURE).getroot().iter("{http://www.w3.org/2000/svg}polyline")
                 if line.get("class") == name).split()
    w = torch.tensor([-2.0, -0.6], dtype=torch.float64, requires_grad=True)
    optimizer = make([w])
    for point in drawn:
        assert tuple(map(float, point.split(","))) == pytest.approx(valley_picture.place(w.detach()), abs=0.06)
        optimizer.zero_grad()
        loss(w).backward()
        optimizer.step()
    assert len(drawn) == 41
