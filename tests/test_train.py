"""The lessons' loop: its order, its records, what it prints; evaluation and samples."""
import ast
import inspect
import io

import pytest
import torch
from small import TOKENIZER, moments, quiet, training, weights, with_parts

from gpt_helpers.data import create_dataloader
from gpt_helpers.evaluate import History, evaluate_model, generate_and_print_sample
from gpt_helpers.loss import calc_loss_batch, calc_loss_loader
from gpt_helpers.train import train_model_simple


def test_evaluations_come_after_step_0_and_then_every_eval_freq_steps_and_a_sample_after_each_epoch(capsys):
    history = train_model_simple(*training())      # two epochs of five batches of 32 tokens and one of 24
    assert isinstance(history, History) and [len(part) for part in history] == [4, 4, 4]
    assert history.tokens_seen == [32, 4 * 32, 6 * 32 + 24, 9 * 32 + 24]      # after steps 0, 3, 6 and 9
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18] for line in lines] == ["Ep 1 (Step 000000)", "Ep 1 (Step 000003)", "5 6 5 " + lines[2][6:18],
                                             "Ep 2 (Step 000006)", "Ep 2 (Step 000009)", "5 6 5 " + lines[5][6:18]]
    assert lines[0] == f"Ep 1 (Step 000000): Train loss {history.train_losses[0]:.3f}, Val loss {history.val_losses[0]:.3f}"


def test_the_loop_is_zero_grad_loss_backward_step():
    """The same steps written out by hand, with the same random numbers, lead to the same weights, bit for bit."""
    parts = training(epochs=1)
    quiet(train_model_simple, *parts)

    by_hand = training(epochs=1)
    model, train_loader, val_loader, optimizer, *_ = by_hand
    for step, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        calc_loss_batch(x, y, model, "cpu").backward()
        optimizer.step()
        if step % 3 == 0:
            evaluate_model(model, train_loader, val_loader, "cpu", 1)
    assert torch.equal(weights(parts), weights(by_hand)) and torch.equal(moments(parts), moments(by_hand))


def test_the_loop_is_bare():
    """A learner holds it in the head: no guard, no hook, no extra; `train_model` has them."""
    function = ast.parse(inspect.getsource(train_model_simple)).body[0]
    assert not function.args.kwonlyargs and len(function.args.args) == 10
    assert not any(isinstance(node, ast.Try | ast.With | ast.Raise) for node in ast.walk(function))
    assert function.end_lineno - function.body[1].lineno < 25


def test_training_learns():
    history = quiet(train_model_simple, *training(epochs=6, lr=3e-2))
    assert history.train_losses[-1] < history.train_losses[0] - 1


def test_every_step_is_taken_in_training_mode(monkeypatch):
    parts = training()
    parts[0].eval()
    monkeypatch.setattr("gpt_helpers.train.generate_and_print_sample", lambda model, *_: model.eval())
    seen = watch(parts[0])
    quiet(train_model_simple, *with_parts(parts, eval_freq=100))
    assert seen.count((True, True)) == 12


# Evaluation.

def watch(model):
    """(training mode, gradients on) of every forward pass of a model."""
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append((module.training, torch.is_grad_enabled())))
    return seen


def test_evaluation_uses_no_dropout_and_leaves_no_gradient():
    model, _, val_loader, *_ = training()
    first = evaluate_model(model, val_loader, val_loader, "cpu", eval_iter=2)
    assert first == evaluate_model(model, val_loader, val_loader, "cpu", eval_iter=2) and first[0] == first[1]
    assert model.training and all(p.grad is None for p in model.parameters())
    model.eval()
    assert first[1] == calc_loss_loader(val_loader, model, "cpu", num_batches=2)


def test_each_loss_is_measured_on_its_own_loader_in_eval_mode_without_gradients():
    model, shuffled, val_loader, *_ = training()
    plain = create_dataloader(shuffled.dataset.ids, batch_size=2, context_length=8)
    model.eval()
    expected = tuple(calc_loss_loader(loader, model, "cpu", num_batches=2) for loader in (plain, val_loader))
    seen = watch(model)
    other = create_dataloader(shuffled.dataset.ids[90:], batch_size=2, context_length=8)
    assert evaluate_model(model, plain, val_loader, "cpu", eval_iter=2) == expected
    assert evaluate_model(model, plain, other, "cpu", eval_iter=2)[1] != expected[1]
    assert set(seen) == {(False, False)}


# Samples.

def test_a_sample_is_the_prompt_and_fifty_tokens_on_one_line(capsys, monkeypatch):
    model, *_ = training()
    seen = watch(model)
    text = generate_and_print_sample(model, TOKENIZER, "cpu", "every effort")
    assert text.startswith("5 6 ") and len(text.split()) == 52 and model.training
    assert capsys.readouterr().out == text + "\n"
    assert seen == [(False, False)] * 50
    monkeypatch.setattr("gpt_helpers.evaluate.token_ids_to_text", lambda ids, tokenizer: "Every\neffort\n")
    assert generate_and_print_sample(model, TOKENIZER, "cpu", "Every") == "Every\neffort\n"
    assert capsys.readouterr().out == "Every effort \n"


@pytest.mark.parametrize(("encoding", "line"), [("cp1252", "caf\xe9 ???"), ("ascii", "caf? ???"), ("utf-8", "caf\xe9 ✔\ufffd?")])
def test_a_terminal_or_file_that_lacks_a_character_stops_no_training(encoding, line, monkeypatch):
    """As on Windows, where output that goes into a file is not in UTF-8."""
    model, *_ = training()
    monkeypatch.setattr("gpt_helpers.evaluate.token_ids_to_text", lambda ids, tokenizer: "caf\xe9 ✔\ufffd\ud800")
    monkeypatch.setattr("sys.stdout", out := io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert generate_and_print_sample(model, TOKENIZER, "cpu", "every") == "caf\xe9 ✔\ufffd\ud800"
    out.flush()
    assert out.buffer.getvalue().decode(encoding).strip() == line


def test_a_long_start_is_cut_to_the_context_and_an_empty_one_refused():
    model, *_ = training()
    assert quiet(generate_and_print_sample, model, TOKENIZER, "cpu", "word " * 50)
    with pytest.raises(ValueError, match="at least one token"):
        generate_and_print_sample(model, TOKENIZER, "cpu", "")
