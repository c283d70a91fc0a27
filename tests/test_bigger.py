"""The runs and instruments of lesson 10: each option does what its name says, and the stored table is whole."""
import csv
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gpt_helpers.lessons.bigger import (
    SMALL,
    STEPS,
    WARM_UP,
    batches,
    constant,
    damaged,
    decay_groups,
    learn,
    new_model,
    plot_rates,
    read_losses,
    validation_loss,
    warm_up,
    warm_up_and_decay,
)
from gpt_helpers.lessons.cost import BytesHeld, BytesSent, bfloat16_speed, output_types, step_cost
from gpt_helpers.lessons.healthy import END_ID

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import bigger

TINY = SMALL | {"emb_dim": 8, "n_heads": 2}


def test_the_rate_rises_in_a_line_then_stays_or_falls_to_nothing():
    rising = [warm_up(step) for step in range(WARM_UP)]
    assert rising == pytest.approx([step / WARM_UP for step in range(1, WARM_UP + 1)])
    assert [warm_up_and_decay(step) for step in range(WARM_UP)] == rising
    falling = [warm_up_and_decay(step) for step in range(WARM_UP, STEPS)]
    assert falling[0] == 1 and falling == sorted(falling, reverse=True) and 0 < falling[-1] < 1e-3
    assert falling[len(falling) // 2] == pytest.approx(0.5)
    assert {warm_up(step) for step in range(WARM_UP, STEPS)} == {constant(step) for step in range(STEPS)} == {1.0}


def test_matrices_decay_and_every_parameter_is_in_one_group():
    model = new_model(TINY, seed=1)
    matrices, others = decay_groups(model)
    assert {id(p) for p in matrices["params"] + others["params"]} == {id(p) for p in model.parameters()}
    assert len(matrices["params"]) + len(others["params"]) == len(list(model.parameters()))
    assert others["weight_decay"] == 0 and "weight_decay" not in matrices
    assert all(p.dim() == 2 for p in matrices["params"]) and all(p.dim() == 1 for p in others["params"])


def first_batch(seed):
    """As `learn` draws it: a new model sets PyTorch's random numbers."""
    new_model(TINY, seed)
    return next(batches(seed))


def test_a_seed_gives_the_same_batches_every_time_and_a_damaged_one_has_no_right_answer():
    (inputs, targets), (again, _), (other, _) = map(first_batch, (1, 1, 2))
    assert torch.equal(inputs, again) and not torch.equal(inputs, other)
    _, spoiled = damaged(inputs, targets)
    assert spoiled.shape == targets.shape and (spoiled == END_ID).all()
    assert len(list(batches(seed=1, steps=3, batch_size=2))) == 3


@pytest.mark.slow
def test_each_option_changes_the_training_where_it_should_and_only_there():
    torch.set_num_threads(1)
    model, plain = learn(TINY, 1, 0.01, warm_up_and_decay)
    assert learn(TINY, 1, 0.01, warm_up_and_decay)[1] == plain and len(plain) == STEPS
    _, spoiled = learn(TINY, 1, 0.01, warm_up_and_decay, spoil={100: damaged})
    assert spoiled[:100] == plain[:100] and spoiled[100] > 2 * plain[100] and spoiled[101] != plain[101]
    for options in ({"max_grad_norm": 0.01}, {"groups": decay_groups}, {"bfloat16": True}):
        _, losses = learn(TINY, 1, 0.01, warm_up_and_decay, **options)
        assert losses != plain and losses[-1] == pytest.approx(plain[-1], rel=0.2)
    assert validation_loss(model) == pytest.approx(plain[-1], rel=0.2)


def test_the_figure_says_where_each_way_is_lowest_and_how_it_ends():
    losses = {"constant": {0.1: [2.0, 4.0], 1.0: [5.0, 5.0]}, "rising": {0.1: [3], 1.0: [2]}, "both": {0.1: [2.0], 1.0: [2.2]}}
    figure = plot_rates(losses, floor=1.5, title="Rates")
    assert repr(figure) == ("From rate 0.1 to 1: constant is lowest, 3.000, at 0.1, and ends at 5.00; rising is lowest, 2.000, "
                            "at 1, and ends at 2.00; both is lowest, 2.000, at 0.1, and ends at 2.20; the floor is 1.500.")


def test_recomputing_holds_less_and_computes_more():
    inputs, targets = next(batches(seed=1, steps=1, batch_size=2))
    model = new_model(TINY | {"n_layers": 4}, seed=1)
    plain = step_cost(model, inputs, targets)
    gradients = [p.grad for p in model.parameters()]
    for block in model.trf_blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    again = step_cost(model, inputs, targets)
    block = (plain.kept - again.kept) / 4                 # what one block keeps beside its input
    assert 0 < again.kept < plain.kept / 2 and plain.operations < again.operations <= plain.operations * 4 / 3
    assert plain.kept <= plain.peak and again.kept + block / 2 < again.peak < again.kept + 2 * block
    assert all(map(torch.equal, gradients, (p.grad for p in model.parameters())))


def test_bytes_are_held_as_long_as_a_tensor_lives_and_only_once():
    known = torch.zeros(1000)
    with BytesHeld([known]) as held:
        tensor = known + 1
        assert held.now == 4000
        tensor = tensor + 1                               # for a moment there are two
        views = tensor[:10], known[:10]
        assert (held.now, held.peak) == (4000, 8000)
        del tensor, views
        assert (held.now, held.peak) == (0, 8000)


def test_what_a_linear_layer_keeps_and_computes_is_what_one_works_out_by_hand():
    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)

        def forward(self, ids):
            return self.head(self.rows(ids))

    inputs = targets = torch.arange(6).reshape(2, 3)      # 6 tokens
    cost = step_cost(Logits(), inputs, targets)
    assert cost.operations == 3 * 2 * 6 * 4 * 10          # forward, gradient of the input, gradient of the weights
    least = 6 * 4 * 4 + 6 * 10 * 4                        # the layer's input, log-probabilities
    assert least <= cost.kept < least + 100               # and the loss, and what it counted
    assert cost.peak >= least + 6 * 10 * 4                # beside the gradient of the logits


def test_autocast_leaves_norms_and_embeddings_in_float32_and_no_hook_behind():
    model, (inputs, _) = new_model(TINY, seed=1), next(batches(seed=1, steps=1))
    assert set(output_types(model, inputs).values()) == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        types = output_types(model, inputs)
    assert types["Linear"] == torch.bfloat16 and types["LayerNorm"] == types["Embedding"] == torch.float32
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.slow
def test_the_speed_of_bfloat16_is_told_in_words():
    assert bfloat16_speed() in ("faster", "slower", "about as fast")


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux, which counts what a process writes")
def test_bytes_are_counted_between_two_updates(tmp_path):
    count = BytesSent()
    for step in range(3):
        count.on_step(step, 0.0)
        (tmp_path / "file").write_bytes(bytes(10_000 * (step + 1)))
    assert count.sent == pytest.approx([10_000, 20_000], abs=500)


def lines():
    with open(bigger.PATH, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_stored_table_has_every_run():
    assert [(line["setting"], float(line["rate"]), int(line["seed"])) for line in lines()] == bigger.WANTED
    assert all(0.3 < float(line["loss"]) < 2 for line in lines())
    table = read_losses(bigger.PATH)
    assert {setting for setting, _ in table} == {setting for setting, _ in bigger.SETTINGS}
    assert len(table["plain", 0.01]) == 10 and table["plain", 0.01][0] == float(
        next(line["loss"] for line in lines() if line["setting"] == "plain"))


def test_the_script_keeps_the_lines_that_are_there_and_runs_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bigger, "PATH", tmp_path / "table.csv")
    monkeypatch.setattr(bigger, "WANTED", [("plain", 0.01, 1), ("plain", 0.01, 2)])
    ran = []
    monkeypatch.setattr(bigger, "learn", lambda cfg, seed, lr, **options: (ran.append(seed), []))
    monkeypatch.setattr(bigger, "validation_loss", lambda model: 1 / (2 - len(ran)))
    with pytest.raises(ZeroDivisionError):      # stopped in the second run
        bigger.main()
    assert [line["seed"] for line in lines()] == ["1"]
    monkeypatch.setattr(bigger, "validation_loss", lambda model: 0.5)
    bigger.main()
    assert ran == [1, 2, 2] and [(line["seed"], line["loss"]) for line in lines()] == [("1", "1.0000"), ("2", "0.5000")]


@pytest.mark.slow
def test_a_stored_line_is_what_the_training_gives():
    torch.set_num_threads(1)
    again = bigger.one_line("damaged clipped", 0.01, 2)
    stored = next(line for line in lines() if (line["setting"], line["seed"]) == ("damaged clipped", "2"))
    assert float(again["loss"]) == pytest.approx(float(stored["loss"]), rel=0.1)      # other processors round otherwise
