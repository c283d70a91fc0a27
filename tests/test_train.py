"""The training loop: its order, its records, and how it stops."""
import itertools

import pytest
import torch

from gpt_helpers.data import create_dataloader
from gpt_helpers.loss import calc_loss_batch, calc_loss_loader
from gpt_helpers.model import GPTModel
from gpt_helpers.train import History, evaluate_model, generate_and_print_sample, train_model_simple

SMALL = {"vocab_size": 256, "context_length": 8, "emb_dim": 16, "n_heads": 2, "n_layers": 1, "drop_rate": 0.1, "qkv_bias": False}

class Bytes:
    """The smallest tokenizer: a token is a byte."""

    n_vocab = 256

    def encode(self, text, allowed_special):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")


IDS = torch.randint(100, (81,), generator=torch.Generator().manual_seed(5))


def setup(lr=1e-3):
    """A small model, its optimizer and two loaders: 5 training batches of 16 tokens, 3 validation batches."""
    torch.manual_seed(123)
    train = create_dataloader(IDS, batch_size=2, context_length=8, shuffle=True)
    val = create_dataloader(IDS[:41], batch_size=2, context_length=8)
    model = GPTModel(SMALL)
    return model, train, val, torch.optim.AdamW(model.parameters(), lr=lr)


def train(model, train_loader, val_loader, optimizer, epochs=2, eval_freq=3, eval_iter=2, **extras):
    return train_model_simple(model, train_loader, val_loader, optimizer, "cpu", epochs, eval_freq, eval_iter,
                              "Every effort", Bytes(), **extras)


def test_evaluations_come_after_step_0_and_then_every_eval_freq_steps(capsys):
    history = train(*setup())
    assert history.tokens_seen == [16 * (step + 1) for step in (0, 3, 6, 9)]
    assert isinstance(history, History) and [len(part) for part in history] == [4, 4, 4]
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Ep ")]
    assert [row[:18] for row in rows] == ["Ep 1 (Step 000000)", "Ep 1 (Step 000003)", "Ep 2 (Step 000006)", "Ep 2 (Step 000009)"]
    assert rows[0] == f"Ep 1 (Step 000000): Train loss {history.train_losses[0]:.3f}, Val loss {history.val_losses[0]:.3f}"


def test_a_sample_follows_each_epoch(capsys):
    samples = []
    train(*setup(), on_sample=lambda epoch, text: samples.append((epoch, text)))
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Every effort")]
    assert [epoch for epoch, _ in samples] == [1, 2]
    assert printed == [text.replace("\n", " ") for _, text in samples]


def test_whoever_watches_is_called_after_each_evaluation_with_the_records_so_far():
    seen = []
    history = train(*setup(), on_eval=lambda history: seen.append(tuple(map(tuple, history))))
    assert seen == [tuple(tuple(part[:n]) for part in history) for n in (1, 2, 3, 4)]


def test_the_loop_is_zero_grad_loss_backward_step():
    """The same steps written out by hand, with the same random numbers, lead to the same weights, bit for bit."""
    model, train_loader, val_loader, optimizer = setup()
    torch.manual_seed(1)
    train(model, train_loader, val_loader, optimizer, epochs=1, eval_freq=2)

    by_hand, train_loader, val_loader, optimizer = setup()
    torch.manual_seed(1)
    for step, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        calc_loss_batch(x, y, by_hand, "cpu").backward()
        optimizer.step()
        if step % 2 == 0:
            evaluate_model(by_hand, train_loader, val_loader, "cpu", 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), by_hand.parameters(), strict=True))


def test_training_learns():
    model, train_loader, val_loader, optimizer = setup(lr=1e-2)
    history = train(model, train_loader, val_loader, optimizer, epochs=20, eval_freq=10)
    assert history.train_losses[-1] < history.train_losses[0] - 5


def test_the_same_seed_gives_the_same_history():
    histories = []
    for _ in range(2):
        parts = setup()
        torch.manual_seed(9)
        histories.append(train(*parts))
    assert histories[0] == histories[1]


def test_the_model_is_left_in_training_mode():
    parts = setup()
    parts[0].eval()
    train(*parts)
    assert parts[0].training


def test_evaluation_uses_no_dropout_and_leaves_no_gradient():
    model, _train_loader, val_loader, _ = setup()
    first = evaluate_model(model, val_loader, val_loader, "cpu", eval_iter=2)
    assert first == evaluate_model(model, val_loader, val_loader, "cpu", eval_iter=2) and first[0] == first[1]
    assert model.training and all(p.grad is None for p in model.parameters())
    model.eval()
    assert first[1] == calc_loss_loader(val_loader, model, "cpu", num_batches=2)


def test_a_sample_is_the_prompt_and_fifty_tokens(capsys):
    model, *_ = setup()
    text = generate_and_print_sample(model, Bytes(), "cpu", "Every effort")
    assert text.startswith("Every effort") and model.training
    assert capsys.readouterr().out == text.replace("\n", " ") + "\n"


def test_a_sample_is_printed_on_one_line(monkeypatch, capsys):
    monkeypatch.setattr("gpt_helpers.evaluate.token_ids_to_text", lambda ids, tokenizer: "Every\neffort\n")
    assert generate_and_print_sample(setup()[0], Bytes(), "cpu", "Every") == "Every\neffort\n"
    assert capsys.readouterr().out == "Every effort \n"


def test_progress_hears_of_every_step():
    heard = []
    train(*setup(), on_step=lambda step, loss: heard.append((step, loss)))
    assert [step for step, _ in heard] == list(range(10))
    assert all(isinstance(loss, float) for _, loss in heard)


def watch(model):
    """(training mode, gradients on) of every forward pass of a model."""
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append((module.training, torch.is_grad_enabled())))
    return seen


def test_each_loss_is_measured_on_its_own_loader_in_eval_mode_without_gradients():
    model, _, val_loader, _ = setup()
    plain = create_dataloader(IDS, batch_size=2, context_length=8)
    model.eval()
    expected = tuple(calc_loss_loader(loader, model, "cpu", num_batches=2) for loader in (plain, val_loader))
    seen = watch(model)
    other = create_dataloader(IDS[40:], batch_size=2, context_length=8)
    assert evaluate_model(model, plain, val_loader, "cpu", eval_iter=2) == expected
    assert evaluate_model(model, plain, other, "cpu", eval_iter=2)[1] != expected[1]
    assert set(seen) == {(False, False)}


def test_a_sample_is_written_in_eval_mode_without_gradients():
    model, *_ = setup()
    seen = watch(model)
    generate_and_print_sample(model, Bytes(), "cpu", "Every effort")
    assert seen == [(False, False)] * 50


def test_every_step_is_taken_in_training_mode():
    model, *rest = setup()
    seen = watch(model)
    train(model, *rest, eval_freq=100, on_sample=lambda epoch, text: model.eval())
    assert seen.count((True, True)) == 10


@pytest.mark.parametrize("bad", ["inf", "-inf", "nan"])
def test_any_training_loss_that_is_no_number_stops(bad, monkeypatch, capsys):
    parts = setup()
    monkeypatch.setattr("gpt_helpers.train.calc_loss_batch", lambda *args: torch.tensor(float(bad), requires_grad=True))
    assert train(*parts) == ([], [], [])
    assert f"Stopped at step 0: the training loss is {bad}." in capsys.readouterr().out


@pytest.mark.parametrize("bad", [(float("inf"), 1.0), (1.0, float("nan"))])
def test_any_evaluated_loss_that_is_no_number_stops(bad, monkeypatch, capsys):
    parts = setup()
    monkeypatch.setattr("gpt_helpers.train.evaluate_model", lambda *args: bad)
    assert train(*parts) == ([], [], [])
    assert f"Stopped at step 0: the evaluated losses are {bad[0]} and {bad[1]}." in capsys.readouterr().out


def test_what_cannot_work_is_refused_before_the_first_step():
    model, train_loader, val_loader, optimizer = setup()
    before = [p.clone() for p in model.parameters()]
    other = torch.optim.AdamW(GPTModel(SMALL).parameters())
    with pytest.raises(ValueError, match="the optimizer holds none of this model's weights"):
        train(model, train_loader, val_loader, other)
    with pytest.raises(ValueError, match="got start_context='', need at least one token"):
        train_model_simple(model, train_loader, val_loader, optimizer, "cpu", 1, 1, 1, "", Bytes())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_training_and_keeps_the_record(poison, capsys):
    model, train_loader, val_loader, optimizer = setup()

    def break_after_step_3(step, loss):
        if step == 4:
            torch.nn.init.constant_(model.out_head.weight, poison)

    history = train(model, train_loader, val_loader, optimizer, on_step=break_after_step_3)
    assert history.tokens_seen == [16, 64]
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("Stopped at step 5: the training loss is nan")
    assert "learning rate" in out


def test_a_step_that_ruins_the_weights_is_not_recorded_as_a_loss(capsys):
    model, train_loader, val_loader, optimizer = setup(lr=float("inf"))
    history = train(model, train_loader, val_loader, optimizer)
    assert history == ([], [], [])
    assert "Stopped at step 0: the evaluated losses are nan and nan" in capsys.readouterr().out


def test_no_step_is_taken_with_a_gradient_that_is_no_number():
    model, train_loader, val_loader, optimizer = setup()
    torch.nn.init.constant_(model.final_norm.weight, float("inf"))
    before = model.tok_emb.weight.clone()
    train(model, train_loader, val_loader, optimizer)
    assert torch.equal(model.tok_emb.weight, before)


def test_an_empty_loader_is_refused_before_anything_happens():
    model, train_loader, val_loader, optimizer = setup()
    empty = torch.utils.data.DataLoader(train_loader.dataset, batch_size=1000, drop_last=True)
    before = [p.clone() for p in model.parameters()]
    for loaders in ((empty, val_loader), (train_loader, empty)):
        with pytest.raises(ValueError, match="the loader has 0 batches"):
            train(model, *loaders, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["epochs", "eval_freq", "eval_iter"])
def test_a_count_below_one_is_refused_before_anything_happens(name):
    with pytest.raises(ValueError, match="=0, need"):
        train(*setup(), **{name: 0})


def test_a_long_start_is_cut_to_the_context():
    model, *_ = setup()
    assert generate_and_print_sample(model, Bytes(), "cpu", "word " * 50)


def test_an_empty_start_is_refused():
    model, *_ = setup()
    with pytest.raises(ValueError, match="at least one token"):
        generate_and_print_sample(model, Bytes(), "cpu", "")


def test_dropping_tokens_seen_would_show():
    """Tokens seen counts tokens, not batches: a smaller last batch counts less."""
    model, _, val_loader, optimizer = setup()
    uneven = create_dataloader(IDS[:25], batch_size=2, context_length=8)      # 3 windows: batches of 2 and 1
    history = train(model, uneven, val_loader, optimizer, epochs=2, eval_freq=1)
    assert history.tokens_seen == list(itertools.accumulate([16, 8, 16, 8]))
