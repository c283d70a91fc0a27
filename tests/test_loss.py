"""The loss in nats per token, and the baselines of counting."""
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpt_helpers.data import create_dataloader
from gpt_helpers.evaluate import evaluate_model
from gpt_helpers.loss import (
    NGram,
    bigram_loss,
    calc_loss_batch,
    calc_loss_loader,
    calc_token_losses,
    uniform_loss,
    unigram_loss,
)
from gpt_helpers.model import GPTModel

IDS = torch.randint(11, (200,), generator=torch.Generator().manual_seed(7))


class Table(torch.nn.Module):
    """The smallest language model: a row of logits per token."""

    def __init__(self, vocab_size=11):
        super().__init__()
        self.rows = torch.nn.Parameter(torch.randn(vocab_size, vocab_size, generator=torch.Generator().manual_seed(3)))

    def forward(self, ids):
        return self.rows[ids]


def test_the_loss_is_the_mean_of_minus_log_p():
    model, x, y = Table(), IDS[:12].view(3, 4), IDS[1:13].view(3, 4)
    probs = model(x).softmax(-1)
    by_hand = -sum(probs[b, t, y[b, t]].log() for b in range(3) for t in range(4)) / 12
    torch.testing.assert_close(calc_loss_batch(x, y, model, "cpu"), by_hand)


def test_the_loss_of_a_batch_is_attached_to_the_graph():
    model = Table()
    loss = calc_loss_batch(IDS[:4].view(1, 4), IDS[1:5].view(1, 4), model, "cpu")
    loss.backward()
    assert loss.shape == () and model.rows.grad.abs().sum() > 0


def test_every_token_counts_the_same_whatever_the_batches():
    model = Table()
    losses = [calc_loss_loader(create_dataloader(IDS[:57], size, 4), model, "cpu") for size in (1, 4, 5, 14)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-6)      # 14 windows: batches of 5 leave one of 4


def test_num_batches_takes_the_first_ones():
    model, loader = Table(), create_dataloader(IDS, 2, 4)
    first_two = [calc_loss_batch(x, y, model, "cpu").item() for x, y in list(loader)[:2]]
    assert calc_loss_loader(loader, model, "cpu", num_batches=2) == pytest.approx(sum(first_two) / 2)
    assert calc_loss_loader(loader, model, "cpu", num_batches=10**6) == calc_loss_loader(loader, model, "cpu")


def test_token_losses_average_to_the_loader_loss():
    model, loader = Table(), create_dataloader(IDS, 3, 4)
    losses = calc_token_losses(loader, model, "cpu")
    assert losses.shape == (49 * 4,) and not losses.requires_grad
    assert losses.mean().item() == pytest.approx(calc_loss_loader(loader, model, "cpu"))
    assert losses[0].item() == pytest.approx(F.cross_entropy(model(IDS[:1]), IDS[1:2]).item())


@pytest.mark.parametrize("batch", [
    (5, 6), ([[1, 2]], [[2, 3]]), (np.array([[1, 2]]), np.array([[2, 3]])), (IDS[None, :2], None),
    {"input_ids": IDS[None, :2], "labels": IDS[None, 1:3]}])
def test_a_batch_that_is_not_two_tensors_is_refused_by_all_in_one_line(batch):
    for loss in (lambda: calc_loss_batch(*batch, Table(), "cpu"), lambda: calc_loss_loader([batch], Table(), "cpu"),
                 lambda: calc_token_losses([batch], Table(), "cpu")):
        with pytest.raises(ValueError, match=r"^got a batch .*need \(inputs, targets\), two tensors") as caught:
            loss()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["cpu", IDS, None, Table])
def test_what_is_no_model_is_refused_by_all_in_one_line(wrong):
    x, y = IDS[None, :4], IDS[None, 1:5]
    for loss in (lambda: calc_loss_batch(x, y, wrong, "cpu"), lambda: calc_loss_loader([(x, y)], wrong, "cpu"),
                 lambda: calc_token_losses([(x, y)], wrong, "cpu"), lambda: evaluate_model(wrong, [(x, y)], [(x, y)], "cpu", 1)):
        with pytest.raises(ValueError, match=r"^got a model of type .*: look at the order of the arguments"):
            loss()


@pytest.mark.parametrize(("targets", "message"), [
    (torch.full((1, 4), 97), "the vocabulary of this model has 0 to 96"), (torch.full((1, 4), -100), "all 4 targets are padding"),
    (torch.tensor([[1, -1, -100, 2]]), "got targets from -1 to 2"),
    (torch.zeros(1, 3, dtype=torch.int64), "the inputs one step later"), (torch.zeros(1, 4), "got torch.float32 targets")])
def test_targets_that_cannot_be_scored_are_refused(targets, message):
    model = GPTModel({"vocab_size": 97, "context_length": 16, "emb_dim": 8, "n_heads": 1, "n_layers": 1, "drop_rate": 0.0,
                      "qkv_bias": False})
    with pytest.raises(ValueError, match=message):
        calc_loss_batch(torch.zeros(1, 4, dtype=torch.int64), targets, model, "cpu")


def test_padding_is_left_out_as_pytorch_leaves_it_out():
    """Rows of different lengths, padded: every loss is a mean over the targets that count."""
    torch.manual_seed(3)
    model = GPTModel({"vocab_size": 97, "context_length": 16, "emb_dim": 8, "n_heads": 1, "n_layers": 1, "drop_rate": 0.0,
                      "qkv_bias": False}).eval()
    x, y = torch.randint(97, (5, 6)), torch.randint(97, (5, 6))
    for row, length in enumerate((6, 1, 4, 2, 5)):
        y[row, length:] = -100
    whole = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    loader = torch.utils.data.DataLoader(list(zip(x, y, strict=True)), batch_size=2)
    with torch.no_grad():
        assert calc_loss_batch(x, y, model, "cpu").item() == pytest.approx(whole)
        assert calc_loss_loader(loader, model, "cpu") == pytest.approx(whole)
    losses = calc_token_losses(loader, model, "cpu")
    assert len(losses) == 18 and losses.mean().item() == pytest.approx(whole) and losses.min() > 0


@pytest.mark.parametrize("wrap", [lambda model: model, torch.nn.DataParallel])
@pytest.mark.parametrize("bad", [97, -1])
def test_every_loss_refuses_the_same_targets(wrap, bad):
    model = wrap(GPTModel({"vocab_size": 97, "context_length": 16, "emb_dim": 8, "n_heads": 1, "n_layers": 1, "drop_rate": 0.0,
                           "qkv_bias": False}))
    x, y = torch.zeros(1, 4, dtype=torch.int64), torch.tensor([[1, bad, 2, 3]])
    for loss in (lambda: calc_loss_batch(x, y, model, "cpu"), lambda: calc_loss_loader([(x, y)], model, "cpu"),
                 lambda: calc_token_losses([(x, y)], model, "cpu")):
        with pytest.raises(ValueError, match=r"the vocabulary of this model has 0 to 96 \(and -100 marks padding\)"):
            loss()


def test_an_empty_loader_is_an_error_and_never_nan():
    windows = create_dataloader(IDS, 2, 4).dataset
    empty = torch.utils.data.DataLoader(windows, batch_size=1000, drop_last=True)
    for measure in (calc_loss_loader, calc_token_losses):
        with pytest.raises(ValueError, match="the loader has 0 batches"):
            measure(empty, Table(), "cpu")


@pytest.mark.parametrize("num_batches", [0, -1])
def test_a_mean_over_no_batches_is_refused(num_batches):
    with pytest.raises(ValueError, match=f"num_batches={num_batches}, need an integer"):
        calc_loss_loader(create_dataloader(IDS, 2, 4), Table(), "cpu", num_batches=num_batches)


@pytest.mark.parametrize("unknown", [11, -1])
def test_a_table_says_nothing_about_tokens_that_it_does_not_know(unknown):
    with pytest.raises(ValueError, match=f"got contexts from .*{unknown}.*, the vocabulary has 0 to 10"):
        NGram(IDS, 11, 3).next_probs(torch.tensor([[5, unknown]]))


def test_the_uniform_loss_is_that_of_a_model_for_which_all_tokens_are_equally_likely():
    model = Table()
    torch.nn.init.constant_(model.rows, 2.5)
    assert calc_loss_loader(create_dataloader(IDS, 2, 4), model, "cpu") == pytest.approx(uniform_loss(11))


def unigram_by_hand(wanted, train, vocab_size):
    counts = Counter(train)
    return (counts[wanted] + len(counts) / vocab_size) / (len(train) + len(counts))


def test_unigram_is_counting_and_nothing_is_impossible():
    train, ids = IDS[:100].tolist(), [0, *IDS[100:140].tolist(), 12]      # 12 was never seen
    by_hand = -sum(math.log(unigram_by_hand(b, train, 13)) for b in ids[1:]) / len(ids[1:])
    assert unigram_loss(torch.tensor(ids), torch.tensor(train), 13) == pytest.approx(by_hand)
    assert sum(unigram_by_hand(b, train, 13) for b in range(13)) == pytest.approx(1)


def test_bigram_is_counting_pairs_mixed_with_the_unigram():
    train, ids = IDS[:100].tolist(), [0, *IDS[100:140].tolist(), 12, 3]
    followers = {a: Counter(y for x, y in itertools.pairwise(train) if x == a) for a in range(13)}

    def p(b, a):
        f, unigram = followers[a], unigram_by_hand(b, train, 13)
        return (f[b] + len(f) * unigram) / (f.total() + len(f)) if f else unigram

    by_hand = -sum(math.log(p(b, a)) for a, b in itertools.pairwise(ids)) / (len(ids) - 1)
    assert bigram_loss(torch.tensor(ids), torch.tensor(train), 13) == pytest.approx(by_hand)
    for a in range(13):
        assert sum(p(b, a) for b in range(13)) == pytest.approx(1)


def test_more_knowledge_means_less_surprise():
    text = torch.tensor([0, 1, 2, 3, 0, 1, 2, 4] * 30)
    assert bigram_loss(text, text, 9) < unigram_loss(text, text, 9) < uniform_loss(9)


def test_the_first_token_is_nobodys_to_predict():
    train = torch.tensor([1, 2, 1, 2])
    assert unigram_loss(torch.tensor([5, 1]), train, 9) == unigram_loss(torch.tensor([7, 1]), train, 9)


@pytest.mark.parametrize("baseline", [unigram_loss, bigram_loss])
@pytest.mark.parametrize(("ids", "message"), [
    (torch.tensor([3]), "at least 2 token ids"), (torch.zeros(2, 2, dtype=torch.int64), "one row"),
    ([1, 2], "need a tensor of int64"), (torch.tensor([1, 2], dtype=torch.int32), "need a tensor of int64"),
    (torch.tensor([1, 11]), "the vocabulary has 0 to 10"), (torch.tensor([-1, 1]), "the vocabulary has 0 to 10")])
def test_a_baseline_refuses_what_it_cannot_score(baseline, ids, message):
    with pytest.raises(ValueError, match=message):
        baseline(ids, IDS, 11)
    with pytest.raises(ValueError, match=message):
        baseline(IDS, ids, 11)


def witten_bell(past, token, train, vocab_size):
    """The probability by its definition, with nothing but counting; train: a tuple of tokens, past: a tuple."""
    shorter = witten_bell(past[1:], token, train, vocab_size) if past else 1 / vocab_size
    k = len(past)
    followers = [train[i + k] for i in range(len(train) - k) if train[i : i + k] == past]
    kinds = len(set(followers))
    return (followers.count(token) + kinds * shorter) / (len(followers) + kinds) if followers else shorter


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_a_table_of_n_tokens_is_counted_as_witten_and_bell_say(n):
    draw = torch.Generator().manual_seed(n)
    train, ids = (torch.randint(0, 5, (size,), generator=draw) for size in (60, 25))
    by_hand = [-math.log(witten_bell(tuple(ids[max(0, i - n + 1) : i].tolist()), ids[i].item(), tuple(train.tolist()), 5))
               for i in range(1, len(ids))]
    table = NGram(train, 5, n)
    assert table.losses(ids).tolist() == pytest.approx(by_hand, rel=1e-12)
    contexts = ids.unfold(0, 4, 1)
    by_hand = [[witten_bell(tuple(past[4 - n + 1 :] if n <= 5 else past), token, tuple(train.tolist()), 5) for token in range(5)]
               for past in contexts.tolist()]
    assert torch.allclose(table.next_probs(contexts), torch.tensor(by_hand, dtype=torch.float64), rtol=1e-12)


def test_a_text_shorter_than_the_table_is_scored_too():
    train = torch.arange(20) % 5
    assert torch.equal(NGram(train, 5, 6).losses(train[:3]), NGram(train, 5, 3).losses(train[:3]))


@pytest.mark.parametrize(("n", "vocab_size", "words"), [
    (0, 9, "n=0"), (1.5, 9, "n=1.5"), (5, 50257, "got n=5, need at most 4 for 30 tokens of 50,257 kinds"),
    (31, 2, "got n=31, need at most 30"), (9, 128, "got n=9, need at most 8"),
    (6, np.int64(50257), "need at most 4"), (2, None, "vocab_size=None"), (2, 0, "vocab_size=0")])
def test_a_table_that_cannot_be_is_refused(n, vocab_size, words):
    with pytest.raises(ValueError, match=words):
        NGram(torch.zeros(30, dtype=torch.int64), vocab_size, n)
