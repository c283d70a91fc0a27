"""The loop for real work: its callbacks, its guards, and its extras against the same arithmetic written out."""
import copy
import math
from types import SimpleNamespace

import numpy
import pytest
import torch
from small import CFG, STEPS, TOKENIZER, Watch, moments, quiet, training, weights, with_parts

from gpt_helpers.checkpoint import read_checkpoint
from gpt_helpers.data import create_dataloader
from gpt_helpers.evaluate import History, evaluate_model
from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import GPTModel
from gpt_helpers.progress import Progress
from gpt_helpers.train import train_model, train_model_simple
from gpt_helpers.weights import load_weights, save_weights


def test_without_its_extras_it_walks_the_path_of_the_simple_loop(capsys):
    ours = training()
    history = train_model(*ours, eval_ends=False, share_rng=True)
    simple = training()
    assert train_model_simple(*simple) == history and isinstance(history, History)
    assert torch.equal(weights(ours), weights(simple)) and torch.equal(moments(ours), moments(simple))
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2:] and len(lines) == 12


# Callbacks.

def test_a_callback_hears_of_every_step_every_evaluation_and_every_sample():
    heard = {"step": [], "eval": [], "sample": []}
    history = quiet(train_model, *training(), callbacks=[Watch(
        on_step=lambda step, loss: heard["step"].append((step, loss)),
        on_eval=lambda history: heard["eval"].append(tuple(map(tuple, history))),
        on_sample=lambda epoch, text: heard["sample"].append((epoch, text)))])
    assert [step for step, _ in heard["step"]] == list(range(STEPS))
    assert all(isinstance(loss, float) and loss > 0 for _, loss in heard["step"])
    assert heard["eval"] == [tuple(tuple(part[:n]) for part in history) for n in range(1, 7)]
    assert [epoch for epoch, _ in heard["sample"]] == [1, 2]
    assert all(text.startswith("5 6 5 ") and len(text.split()) == 53 for _, text in heard["sample"])


def test_random_numbers_that_a_callback_draws_are_not_those_of_training(tmp_path):
    """Such as those for a sample, or for the order of a loader that it evaluates."""
    def draw(*_):
        torch.rand(1)

    straight, watch = training(), {"callbacks": [Watch(on_step=draw, on_eval=draw, on_sample=draw)]}
    history = quiet(train_model, *straight)
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", max_steps=7, **watch)
    parts = training()
    assert quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True, **watch) == history
    assert torch.equal(weights(parts), weights(straight))


def test_several_callbacks_are_called_in_their_order():
    heard = []
    first, second = (Watch(on_step=lambda step, loss, name=name: heard.append((name, step))) for name in ("first", "second"))
    quiet(train_model, *training(), max_steps=2, callbacks=[first, second])
    assert heard == [("first", 0), ("second", 0), ("first", 1), ("second", 1)]


@pytest.mark.parametrize(("callbacks", "words"), [
    ([lambda step, loss: None], "got the callback function, need an object with on_step, on_eval and on_sample"),
    ([Progress], "got the callback Progress, need an object"), (Progress(3), "got callbacks of type Progress, need a list")])
def test_what_is_no_callback_is_refused_before_the_first_step(callbacks, words):
    parts = training()
    before = weights(parts)
    with pytest.raises(ValueError, match=words):
        train_model(*parts, callbacks=callbacks)
    assert torch.equal(weights(parts), before)


# Guards.

@pytest.mark.parametrize("bad", ["inf", "-inf", "nan"])
def test_any_training_loss_that_is_no_number_stops_before_it_reaches_the_weights(bad, monkeypatch, capsys):
    parts = training()
    before = weights(parts)
    monkeypatch.setattr("gpt_helpers.train.calc_loss_batch", lambda *args: torch.tensor(float(bad), requires_grad=True))
    assert train_model(*parts, eval_ends=False) == ([], [], [])
    assert f"Stopped at step 0: the training loss is {bad}. " in capsys.readouterr().out
    assert torch.equal(weights(parts), before)


@pytest.mark.parametrize("bad", [(float("inf"), 1.0), (1.0, float("nan"))])
def test_any_evaluated_loss_that_is_no_number_stops(bad, monkeypatch, capsys):
    monkeypatch.setattr("gpt_helpers.train.evaluate_model", lambda *args: bad)
    assert train_model(*training()) == ([], [], [])
    assert f"Stopped at step 0: the evaluated losses are {bad[0]} and {bad[1]}. " in capsys.readouterr().out


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_training_and_leaves_the_records(poison, capsys):
    parts = training()

    def break_after_step_3(step, loss):
        if step == 4:
            torch.nn.init.constant_(parts[0].out_head.weight, poison)

    history = train_model(*parts, eval_ends=False, callbacks=[Watch(on_step=break_after_step_3)])
    assert history.tokens_seen == [32, 128]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Stopped at step 5: the training loss is nan") and "a smaller learning rate" in last


def test_a_step_that_ruins_the_weights_is_not_recorded_as_a_loss(capsys):
    assert train_model(*training(lr=float("inf")), eval_ends=False) == ([], [], [])
    assert "Stopped at step 1: the evaluated losses are nan and nan" in capsys.readouterr().out


def refused(words, parts, **options):
    """train_model refuses in one line, before any weight changes."""
    before = weights(parts)
    with pytest.raises(ValueError, match=words) as caught:
        train_model(*parts, **options)
    assert "\n" not in str(caught.value) and torch.equal(weights(parts), before)


@pytest.mark.parametrize("name", ["num_epochs", "eval_freq", "eval_iter"])
def test_a_count_below_one_is_refused(name):
    refused("=0, need an integer of at least 1", with_parts(training(), **{name: 0}))


def test_what_could_never_learn_is_refused():
    parts = training()
    refused("the optimizer holds none of this model's weights, and 16 that it does not have: make it from model.parameters",
            with_parts(parts, optimizer=torch.optim.AdamW(GPTModel(CFG).parameters())))
    refused("got start_context='', need at least one token", with_parts(parts, start_context=""))
    with torch.no_grad():
        refused("gradients are switched off", parts)
    refused("got LBFGS, whose step needs a function",
            with_parts(parts, optimizer=torch.optim.LBFGS(parts[0].parameters())))
    parts[0].requires_grad_(False)
    refused(r"all weights that the optimizer holds are frozen \(requires_grad is False\)", parts)


def test_a_layer_that_was_replaced_after_the_optimizer_was_made_is_refused():
    """It would stay as it is, while the optimizer trains the old one."""
    parts = training()
    parts[0].out_head = torch.nn.Linear(16, 60, bias=False)
    refused(r"the optimizer holds 15 of this model's weights, and 1 that it does not have: make it from model.parameters", parts)
    tied = training()      # here it is the same if the optimizer holds the old one, too
    tied[0].out_head.weight = tied[0].tok_emb.weight
    quiet(train_model, *tied, max_steps=1)


def test_a_model_on_another_device_than_its_batches_is_refused():
    """PyTorch's meta device stands in for a GPU."""
    parts = training()
    refused(r"the model is on cpu, and its batches would go to meta: call model.to\('meta'\)", with_parts(parts, device="meta"))


@pytest.mark.parametrize(("collate", "words"), [
    (lambda x, y: {"input_ids": x, "labels": y}, "got a batch of type dict"),
    (lambda x, y: (x, y, x > 0), r"got a batch \(Tensor, Tensor, Tensor\)"),
    (lambda x, y: x, "got a batch of type Tensor"),
    (lambda x, y: (x.numpy(), y.numpy()), r"got a batch \(ndarray, ndarray\)"),
    (lambda x, y: None, "got a batch of type NoneType")])
@pytest.mark.parametrize("options", [{}, {"eval_ends": False}])
def test_a_batch_that_is_no_pair_of_tensors_is_refused(collate, words, options):
    parts = training()
    loader = torch.utils.data.DataLoader(parts[1].dataset, batch_size=4,
                                         collate_fn=lambda rows: collate(*map(torch.stack, zip(*rows, strict=True))))
    refused(words + r", need \(inputs, targets\), two tensors: give the loader a collate_fn",
            with_parts(parts, train_loader=loader), **options)


def test_a_batch_may_be_anything_that_unpacks_into_two_tensors():
    history = quiet(train_model, *training())
    parts = training()
    loader = torch.utils.data.DataLoader(parts[1].dataset, 4, shuffle=True,
                                         collate_fn=lambda rows: torch.stack([*map(torch.stack, zip(*rows, strict=True))]))
    assert quiet(train_model, *with_parts(parts, train_loader=loader)) == history


def test_a_model_of_which_a_part_is_frozen_trains_the_rest():
    parts = training()
    parts[0].tok_emb.requires_grad_(False)
    before = parts[0].tok_emb.weight.clone(), parts[0].out_head.weight.clone()
    quiet(train_model, *parts, max_steps=2)
    assert torch.equal(parts[0].tok_emb.weight, before[0]) and not torch.equal(parts[0].out_head.weight, before[1])


def test_an_empty_loader_is_refused():
    parts = training()
    empty = torch.utils.data.DataLoader(parts[1].dataset, batch_size=1000, drop_last=True)
    for name in ("train_loader", "val_loader"):
        refused("the loader has 0 batches", with_parts(parts, **{name: empty}))


def test_extras_that_do_not_fit_are_refused():
    parts = training()
    other = torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD(parts[0].parameters()))
    refused("the scheduler belongs to another optimizer", parts, scheduler=other)
    for bad in (0, -1.0, math.nan):
        refused(f"got max_grad_norm={bad}, need a number above 0", parts, max_grad_norm=bad)
    refused("got accumulate=0, need an integer", parts, accumulate=0)
    other = torch.nn.Linear(2, 2)
    refused("got a model of type Linear without a configuration, need a GPTModel",
            with_parts(parts, model=other, optimizer=torch.optim.SGD(other.parameters())))


def test_a_model_that_could_not_write_a_sample_is_refused():
    """Or an epoch of training would be lost with it."""
    class Own(GPTModel):
        def forward(self, ids):
            return super().forward(ids)

    parts, own = training(), Own(CFG)
    del own.pos_emb
    refused(r"got a model of type Own without pos_emb and forward\(…, last_only\) and forward\(…, kv_cache\), which writing",
            with_parts(parts, model=own, optimizer=torch.optim.SGD(own.parameters())))


# Schedule, clipping, accumulation.

def warmup_and_decay(optimizer):
    return torch.optim.lr_scheduler.SequentialLR(optimizer, milestones=[4], schedulers=[
        torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS - 4)])


def test_the_schedule_is_stepped_after_each_update():
    parts, rates = training(), []
    quiet(train_model, *parts, scheduler=warmup_and_decay(parts[3]),
          callbacks=[Watch(on_step=lambda *_: rates.append(parts[3].param_groups[0]["lr"]))])
    other = training()[3]
    schedule, expected = warmup_and_decay(other), []
    for _ in range(STEPS):
        other.step(), schedule.step()
        expected.append(other.param_groups[0]["lr"])
    assert rates == expected and len(set(rates)) == STEPS


def test_clipping_scales_gradients_down_to_the_norm(monkeypatch):
    parts, norms = training(), []
    parts[3].register_step_pre_hook(lambda *_: norms.append(
        torch.stack([p.grad.norm() for p in parts[0].parameters()]).norm().item()))
    quiet(train_model, *parts, max_steps=3, max_grad_norm=0.01)
    assert norms == pytest.approx([0.01] * 3, rel=1e-3)
    assert not torch.equal(weights(parts), weights_of(max_steps=3))
    assert torch.equal(weights_of(max_steps=3, max_grad_norm=1e9), weights_of(max_steps=3))


def weights_of(**options):
    parts = training()
    quiet(train_model, *parts, **options)
    return weights(parts)


def test_a_gradient_norm_that_is_no_number_stops(capsys):
    parts = training()
    parts[0].out_head.weight.register_hook(lambda grad: grad * math.inf)
    before = weights(parts)
    train_model(*parts, eval_ends=False, max_grad_norm=1.0)
    assert "Stopped at step 0: the gradient norm is " in capsys.readouterr().out
    assert torch.equal(weights(parts), before)


def test_accumulated_micro_batches_make_the_update_of_one_large_batch():
    """Also when they hold different numbers of tokens: the mean is over tokens, not of means."""
    parts = training(epochs=1)
    parts[0] = GPTModel(CFG | {"drop_rate": 0.0})
    micro = create_dataloader(parts[1].dataset.ids[:57], 4, 8)      # 7 windows: micro-batches of 4 and 3
    assert [len(x) for x, _ in micro] == [4, 3]
    large = create_dataloader(parts[1].dataset.ids[:57], 7, 8)
    updated, losses = [], []
    for loader, accumulate in ((micro, 2), (large, 1)):
        ours = copy.deepcopy(parts[0])
        optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
        history = quiet(train_model, *with_parts(parts, model=ours, train_loader=loader, optimizer=optimizer),
                        accumulate=accumulate, callbacks=[Watch(on_step=lambda step, loss: losses.append(loss))])
        updated.append(weights([ours]))
        assert history.tokens_seen == [0, 56]
    torch.testing.assert_close(*updated, rtol=0, atol=1e-6)
    assert len(losses) == 2 and losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert (updated[0] - weights(parts)).abs().max() > 1e-3


def test_micro_batches_that_fill_no_whole_update_make_a_smaller_one():
    seen = []
    parts = training()      # six batches an epoch
    history = quiet(train_model, *parts, accumulate=4, callbacks=[Watch(on_step=lambda step, loss: seen.append(step))])
    assert seen == [0, 1, 2, 3] and history.tokens_seen[-1] == sum(x.numel() for x, _ in parts[1]) * 2


def test_padding_counts_neither_for_the_loss_nor_for_the_weight_of_a_micro_batch_nor_as_seen():
    """Two micro-batches, one with a single counted target: every target that counts weighs the same."""
    parts = training(epochs=1)
    x = torch.randint(60, (2, 8))
    y = torch.randint(60, (2, 8))
    y[1, 1:] = -100
    loader = torch.utils.data.DataLoader(list(zip(x, y, strict=True)), batch_size=1)
    model, losses = GPTModel(CFG | {"drop_rate": 0.0}), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    history = quiet(train_model, *with_parts(parts, model=model, train_loader=loader, optimizer=optimizer), accumulate=2,
                    callbacks=[Watch(on_step=lambda step, loss: losses.append(loss))], max_steps=1)
    whole, first, second = (calc_loss_batch(*batch, model, "cpu").item() for batch in ((x, y), (x[:1], y[:1]), (x[1:], y[1:])))
    assert losses[0] == pytest.approx(whole, abs=1e-6) and abs(whole - (first + second) / 2) > 1e-3
    assert history.tokens_seen == [0, 9]


SLOW = [pytest.param(stop, marks=pytest.mark.slow) for stop in (0, 1, 5, 8)]


@pytest.mark.parametrize("stop", [3, 7, *SLOW])
def test_with_schedule_clipping_and_accumulation_a_stopped_training_ends_at_the_same_bits(stop, tmp_path):
    def run(**options):
        parts = training(epochs=4)
        return quiet(train_model, *parts, scheduler=warmup_and_decay(parts[3]), max_grad_norm=0.5, accumulate=4, **options), parts

    history, straight = run()
    run(checkpoint_path=tmp_path / "run.pt", max_steps=stop)
    resumed_history, resumed = run(checkpoint_path=tmp_path / "run.pt", resume=True)
    assert resumed_history == history and torch.equal(weights(resumed), weights(straight))
    assert torch.equal(moments(resumed), moments(straight))
    assert resumed[3].param_groups[0]["lr"] == straight[3].param_groups[0]["lr"]


# Settings that were changed before going on.

def stopped(tmp_path, lr=1e-2, schedule=None):
    parts = training(lr=lr)
    quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", max_steps=5, scheduler=schedule and schedule(parts[3]))


def rates_of_the_rest(tmp_path, lr, schedule=None, **settings):
    parts, rates = training(lr=lr), []
    parts[3].param_groups[0].update(settings)
    train_model(*parts, checkpoint_path=tmp_path / "run.pt", resume=True, scheduler=schedule and schedule(parts[3]),
                callbacks=[Watch(on_step=lambda *_: rates.append(parts[3].param_groups[0]["lr"]))])
    assert all(parts[3].param_groups[0][name] == value for name, value in settings.items())
    return rates


def test_a_learning_rate_that_is_given_anew_holds_and_is_told(tmp_path, capsys):
    stopped(tmp_path)
    assert rates_of_the_rest(tmp_path, 1e-4) == [1e-4] * 7
    assert "run.pt: lr was 0.01, and you give 0.0001: continuing with 0.0001\n" in capsys.readouterr().out
    assert read_checkpoint(tmp_path / "run.pt")["training"]["given"]["optimizer"][0]["lr"] == 1e-4


def test_other_settings_that_are_given_anew_hold_too(tmp_path, capsys):
    stopped(tmp_path)
    rates_of_the_rest(tmp_path, 1e-2, weight_decay=0.5, betas=(0.8, 0.9))
    out = capsys.readouterr().out
    assert "weight_decay was 0.1, and you give 0.5" in out and "betas was (0.9, 0.999), and you give (0.8, 0.9)" in out


def test_settings_that_are_given_as_before_are_not_told(tmp_path, capsys):
    stopped(tmp_path)
    rates_of_the_rest(tmp_path, 1e-2)
    assert "run.pt:" not in capsys.readouterr().out


def test_a_learning_rate_that_was_changed_on_the_way_goes_on_and_is_told(tmp_path, capsys):
    parts = training()

    def lower(step, loss):
        parts[3].param_groups[0]["lr"] = 0.003

    quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", max_steps=5, callbacks=[Watch(on_step=lower)])
    assert rates_of_the_rest(tmp_path, 1e-2) == [0.003] * 7
    assert "run.pt: lr had become 0.003, and you give 0.01, as at the start: continuing with 0.003\n" in capsys.readouterr().out


def test_under_a_schedule_a_new_learning_rate_scales_what_is_left_of_it(tmp_path, capsys):
    stopped(tmp_path, schedule=warmup_and_decay)
    half = rates_of_the_rest(tmp_path, 5e-3, warmup_and_decay)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run.pt:")]
    assert told == ["run.pt: lr was 0.01, and you give 0.005: continuing with 0.005"]
    parts, rates = training(lr=1e-2), []
    quiet(train_model, *parts, scheduler=warmup_and_decay(parts[3]),
          callbacks=[Watch(on_step=lambda *_: rates.append(parts[3].param_groups[0]["lr"]))])
    assert half == pytest.approx([rate / 2 for rate in rates[5:]], rel=1e-9)


def test_another_schedule_is_told_and_taken(tmp_path, capsys):
    stopped(tmp_path)
    rates = rates_of_the_rest(tmp_path, 1e-2, lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5))
    assert rates == pytest.approx([1e-2 * 0.5 ** (step + 1) for step in range(5, STEPS)])
    assert "the learning-rate schedule differs from the one in the file: taking yours from here on" in capsys.readouterr().out


# Models of other kinds.

def test_under_autocast_each_update_computes_with_its_own_weights():
    """As long as an autocast lasts PyTorch keeps the first bfloat16 copy of each weight, and here it lasts for the whole run."""
    def run(**options):
        parts = training()
        with torch.autocast("cpu", torch.bfloat16, **options):
            before = evaluate_model(*parts[:3], "cpu", 1)
            torch.manual_seed(2)
            history = quiet(train_model, *parts)
            return weights(parts), history, before, evaluate_model(*parts[:3], "cpu", 1)[1]

    kept, fresh = run(), run(cache_enabled=False)
    assert torch.equal(kept[0], fresh[0]) and kept[1:] == fresh[1:]


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = [
    pytest.param(torch.nn.DataParallel, id="parallel"),
    pytest.param(compiled, id="compiled", marks=pytest.mark.slow),
    pytest.param(lambda model: torch.nn.DataParallel(compiled(model)), id="both", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_compiled_or_wrapped_model_trains_saves_and_goes_on_as_the_model_inside(wrap, tmp_path, capsys):
    straight = training()
    history = quiet(train_model, *straight, best_path=tmp_path / "plain.safetensors")
    path, best = tmp_path / "run.pt", tmp_path / "best.safetensors"
    parts = training()      # wrapped, then plain, then wrapped again
    quiet(train_model, *with_parts(parts, model=wrap(parts[0])), checkpoint_path=path, best_path=best, max_steps=4)
    quiet(train_model, *training(), checkpoint_path=path, best_path=best, resume=True, max_steps=8)
    parts = training()
    wrapped = with_parts(parts, model=wrap(parts[0]))
    assert quiet(train_model, *wrapped, checkpoint_path=path, best_path=best, resume=True) == history
    assert torch.equal(weights(parts), weights(straight))
    assert best.read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_simple_loop_takes_a_compiled_or_wrapped_model_too(wrap):
    plain = training()
    history = quiet(train_model_simple, *plain)
    parts = training()
    assert quiet(train_model_simple, *with_parts(parts, model=wrap(parts[0]))) == history
    assert torch.equal(weights(parts), weights(plain))


def test_tied_weights_train_save_and_load_tied(tmp_path):
    parts = training()
    parts[0].out_head.weight = parts[0].tok_emb.weight
    parts[3] = torch.optim.AdamW(parts[0].parameters(), lr=1e-2)
    quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", max_steps=5)
    save_weights(tmp_path / "w.safetensors", parts[0])
    loaded = load_weights(tmp_path / "w.safetensors")
    assert loaded.out_head.weight is loaded.tok_emb.weight
    assert torch.equal(weights([loaded]), weights(parts))
    again = training()
    again[0].out_head.weight = again[0].tok_emb.weight
    again[3] = torch.optim.AdamW(again[0].parameters(), lr=1e-2)
    quiet(train_model, *again, checkpoint_path=tmp_path / "run.pt", resume=True, max_steps=5)
    assert again[0].out_head.weight is again[0].tok_emb.weight and torch.equal(weights(again), weights(parts))
    with pytest.raises(ValueError, match=r"run\.pt does not hold the weights and moment estimates"):
        train_model(*training(), checkpoint_path=tmp_path / "run.pt", resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("loop", [train_model, train_model_simple])
def test_a_loader_with_persistent_workers_ends_its_epochs(loop):
    parts = training()
    loader = torch.utils.data.DataLoader(parts[1].dataset, batch_size=4, shuffle=True, num_workers=1, persistent_workers=True)
    history = quiet(loop, *with_parts(parts, train_loader=loader, eval_freq=2, num_epochs=1))
    assert history.tokens_seen[-1] <= sum(x.numel() for x, _ in parts[1])


@pytest.mark.slow
def test_a_loader_with_workers_walks_the_same_path():
    alone = training()
    history = quiet(train_model, *alone)
    parts = training()
    loader = create_dataloader(parts[1].dataset.ids, 4, 8, shuffle=True, num_workers=1)
    assert quiet(train_model, *with_parts(parts, train_loader=loader)) == history
    assert torch.equal(weights(parts), weights(alone))


def test_a_tokenizer_of_ones_own_needs_encode_and_decode_only():
    class Words:
        def encode(self, text):
            return [len(word) for word in text.split()]

        def decode(self, ids):
            return " ".join(map(str, ids))

    history = quiet(train_model, *training())
    assert quiet(train_model, *with_parts(training(), tokenizer=Words())) == history


# What was found by trying to break it.

@pytest.mark.parametrize("number", [numpy.float64, numpy.float32, lambda value: torch.tensor(value)])
def test_a_learning_rate_of_any_kind_of_number_goes_on(number, tmp_path):
    straight = training(lr=number(1e-2))
    history = quiet(train_model, *straight)
    quiet(train_model, *training(lr=number(1e-2)), checkpoint_path=tmp_path / "run.pt", max_steps=5)
    parts = training(lr=number(1e-2))
    assert quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True) == history
    assert torch.equal(weights(parts), weights(straight))


def test_a_schedule_that_no_checkpoint_can_hold_is_noticed_before_the_first_step(tmp_path):
    class Rate:
        def __init__(self):
            self.secret = object()

        def __call__(self, step):
            return 1.0

    parts = training()
    scheduler = torch.optim.lr_scheduler.LambdaLR(parts[3], Rate())
    refused("the scheduler holds something no checkpoint can", parts, scheduler=scheduler, checkpoint_path=tmp_path / "run.pt")
    quiet(train_model, *parts, scheduler=scheduler, max_steps=1)      # without a checkpoint it is fine


def test_a_schedule_that_cannot_go_through_is_refused():
    parts = training()
    refused("got ReduceLROnPlateau", parts, scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(parts[3]))
    short = torch.optim.lr_scheduler.OneCycleLR(parts[3], 2e-2, total_steps=STEPS - 1)
    refused(f"got a scheduler with {STEPS - 1} of {STEPS - 1} steps left for a training run of {STEPS}", parts, scheduler=short)
    quiet(train_model, *parts, scheduler=short, max_steps=STEPS - 1)
    refused(f"got a scheduler with 0 of {STEPS - 1} steps left", parts, scheduler=short, max_steps=1)      # the cell run twice


@pytest.mark.parametrize("limit", [{"max_steps": None}, {"max_steps": "5"}, {"max_steps": math.nan}, {"max_steps": -1},
                                   {"max_grad_norm": "1"}])
def test_a_limit_that_is_none_is_refused(limit):
    refused(f"got {next(iter(limit))}=", training(), **limit)


def test_two_files_need_two_names(tmp_path):
    refused("got x as checkpoint_path and as best_path: give two names", training(), checkpoint_path=tmp_path / "x",
            best_path=tmp_path / "." / "x")


def test_clipping_counts_only_the_weights_that_are_updated(tmp_path):
    """The gradients of the others are never set to zero, so they would add up, and a resumed training would not have them."""
    def run(**options):
        parts = training()
        parts[3] = torch.optim.SGD(parts[0].out_head.parameters(), lr=0.5)
        quiet(train_model, *parts, max_grad_norm=0.5, **options)
        return weights(parts)

    straight = run()
    run(checkpoint_path=tmp_path / "run.pt", max_steps=6)
    assert torch.equal(run(checkpoint_path=tmp_path / "run.pt", resume=True), straight)


def test_a_sampler_with_a_generator_of_its_own_goes_on_too(tmp_path):
    def run(seed, **options):
        parts = training()
        data = parts[1].dataset
        sampler = torch.utils.data.RandomSampler(data, generator=torch.Generator().manual_seed(seed))
        parts[1] = torch.utils.data.DataLoader(data, batch_size=4, sampler=sampler)
        quiet(train_model, *with_parts(parts, eval_freq=options.pop("eval_freq", 3)), **options)
        return weights(parts)

    straight = run(5)
    assert torch.equal(run(5, eval_freq=1), straight)      # evaluation leaves no trace
    run(5, checkpoint_path=tmp_path / "run.pt", max_steps=4)
    assert torch.equal(run(77, checkpoint_path=tmp_path / "run.pt", resume=True), straight)


def test_a_sample_that_cannot_be_decoded_does_not_end_a_training(capsys):
    parts = with_parts(training(), tokenizer=SimpleNamespace(encode=TOKENIZER.encode, decode=TOKENIZER.decode, n_vocab=8))
    history = train_model(*parts)
    assert history.tokens_seen[-1] == sum(x.numel() for x, _ in parts[1]) * 2
    assert "No sample: the tokenizer cannot decode it (ValueError: token id " in capsys.readouterr().out


@pytest.mark.parametrize(("known", "error"), [("abcdefgh", "IndexError"), (dict(enumerate("abcdefgh")), "KeyError")])
def test_a_sample_with_tokens_that_a_tokenizer_of_characters_has_not_does_not_end_a_training(known, error, capsys):
    tokenizer = SimpleNamespace(encode=TOKENIZER.encode, decode=lambda ids: "".join(known[i] for i in ids))
    assert train_model(*with_parts(training(), tokenizer=tokenizer)) == quiet(train_model, *training())
    assert capsys.readouterr().out.count(f"No sample: the tokenizer cannot decode it ({error}: ") == 2


@pytest.mark.parametrize("decode", [None, lambda ids: b"bytes"])
def test_a_tokenizer_that_cannot_decode_is_refused(decode):
    tokenizer = SimpleNamespace(encode=TOKENIZER.encode, **({"decode": decode} if decode else {}))
    refused("need one whose decode turns token ids into text", with_parts(training(), tokenizer=tokenizer))


def test_a_dataset_of_ones_own_may_have_ids():
    class Own(torch.utils.data.Dataset):
        ids = (1, 2)

        def __len__(self):
            return 8

        def __getitem__(self, i):
            return torch.arange(8), torch.arange(1, 9)

    quiet(train_model, *with_parts(training(), train_loader=torch.utils.data.DataLoader(Own(), batch_size=4)), max_steps=2)


def test_a_loader_that_does_not_know_its_length_is_refused():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield torch.arange(8), torch.arange(1, 9)

    refused("got a DataLoader that does not know how many batches it has: give its dataset a __len__",
            with_parts(training(), train_loader=torch.utils.data.DataLoader(Stream())))


@pytest.mark.slow
def test_a_model_of_which_a_part_is_compiled_saves_and_goes_on(tmp_path):
    straight = training()
    history = quiet(train_model, *straight)
    parts = training()
    parts[0].trf_blocks[0] = compiled(parts[0].trf_blocks[0])
    quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", best_path=tmp_path / "best", max_steps=5)
    assert load_weights(tmp_path / "best").state_dict().keys() == straight[0].state_dict().keys()
    parts = training()
    assert quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True) == history
    assert torch.equal(weights(parts), weights(straight))


def test_an_optimizer_with_other_moment_estimates_is_refused(tmp_path):
    stopped(tmp_path)
    parts = training()
    parts[3] = torch.optim.AdamW(parts[0].parameters(), lr=1e-2, amsgrad=True)
    refused("does not hold the weights and moment estimates", parts, checkpoint_path=tmp_path / "run.pt", resume=True)


def test_a_batch_that_cannot_be_scored_loses_nothing_before_it(tmp_path):
    parts = training()
    rows = [(torch.arange(8), torch.arange(1, 9))] * 3 + [(torch.arange(8), torch.full((8,), -100))]
    loader = torch.utils.data.DataLoader(rows, batch_size=1)
    with pytest.raises(ValueError, match="all 8 targets are padding"):
        quiet(train_model, *with_parts(parts, train_loader=loader), checkpoint_path=tmp_path / "run.pt")
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == 3


def test_best_weights_that_are_asked_for_later_are_saved(tmp_path):
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", max_steps=8)
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", best_path=tmp_path / "best", resume=True)
    assert (tmp_path / "best").exists()


def test_a_schedule_that_is_added_later_is_told(tmp_path, capsys):
    stopped(tmp_path)
    rates_of_the_rest(tmp_path, 1e-2, lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 8))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run.pt:")]
    assert told == ["run.pt: the learning-rate schedule differs from the one in the file: taking yours from here on"]


def test_a_number_of_numpy_in_the_configuration_is_a_number(tmp_path):
    model = GPTModel(CFG | {"emb_dim": numpy.int64(16)})
    assert type(model.cfg["emb_dim"]) is int
    save_weights(tmp_path / "w", model)
    assert load_weights(tmp_path / "w").cfg == CFG
