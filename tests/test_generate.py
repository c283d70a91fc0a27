"""Greedy and sampled text, and what counts as a quotation."""
import random
import re

import pytest
import torch
from small import SMALL

from gpt_helpers.generate import draw_tokens, generate, generate_text_simple, longest_match
from gpt_helpers.loss import NGram
from gpt_helpers.model import GPTModel

PROMPT = torch.tensor([[5, 6, 7], [8, 9, 10]])


@pytest.fixture
def model():
    torch.manual_seed(123)
    return GPTModel(SMALL).eval()


def test_greedy_takes_the_likeliest_token_each_time(model):
    idx = generate_text_simple(model, PROMPT, max_new_tokens=4, context_size=16)
    assert idx.shape == (2, 7) and torch.equal(idx[:, :3], PROMPT)
    for t in range(3, 7):
        assert torch.equal(idx[:, t], model(idx[:, :t])[:, -1].argmax(-1))


def test_remembering_the_past_changes_no_token(model):
    """Also past the context length, where nothing remembered holds, and for prompts longer than the context."""
    model.double()                                    # so that no two tokens are equally likely but for rounding
    for prompt in (PROMPT[:, :1], PROMPT, PROMPT.repeat(1, 5), PROMPT.repeat(1, 7)):
        for context_size in (16, 11, 1):
            idx = prompt
            for _ in range(40):
                idx = torch.cat([idx, model(idx[:, -context_size:])[:, -1].argmax(-1, keepdim=True)], dim=1)
            assert torch.equal(generate_text_simple(model, prompt, 40, context_size), idx)


def test_each_new_token_goes_through_the_model_once_and_alone(model):
    """Until the context is full."""
    widths = []
    model.register_forward_pre_hook(lambda module, args: widths.append(args[0].shape[1]))
    generate_text_simple(model, PROMPT, 16, 16)
    assert widths == [3] + [1] * 13 + [16, 16]


def test_no_new_tokens_give_the_prompt_back(model):
    assert torch.equal(generate_text_simple(model, PROMPT, 0, 16), PROMPT)


def test_generating_keeps_no_graph_and_draws_no_random_number(model):
    before = torch.get_rng_state()
    assert not generate_text_simple(model, PROMPT, 3, 16).requires_grad
    assert torch.equal(torch.get_rng_state(), before)


def test_temperature_zero_and_top_1_are_greedy(model):
    greedy = generate_text_simple(model, PROMPT, 6, 16)
    assert torch.equal(generate(model, PROMPT, 6, 16, temperature=0), greedy)
    assert torch.equal(generate(model, PROMPT, 6, 16, temperature=torch.tensor(0.0)), greedy)
    assert torch.equal(generate(model, PROMPT, 6, 16, top_k=1), greedy)


def test_sampling_follows_its_generator_and_leaves_the_global_state_alone(model):
    before = torch.get_rng_state()
    draws = [generate(model, PROMPT, 6, 16, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_come_as_often_as_the_softmax_says(model):
    prompt = PROMPT[:1].repeat(20_000, 1)
    drawn = generate(model, prompt, 1, 16, temperature=2.0, top_k=3, generator=torch.Generator().manual_seed(1))[:, -1]
    logits, tokens = model(PROMPT[:1])[0, -1].topk(3)
    share = torch.stack([(drawn == token).float().mean() for token in tokens])
    torch.testing.assert_close(share, (logits / 2).softmax(-1), atol=0.015, rtol=0)      # four standard errors


def test_sampling_too_sees_no_more_than_the_context_and_keeps_no_graph(model):
    idx = generate(model, PROMPT, 20, 16, temperature=1e-30)
    assert torch.equal(idx, generate_text_simple(model, PROMPT, 20, 16)) and not idx.requires_grad


def test_any_writer_draws_token_after_token_by_its_probabilities():
    """A table of pairs that has seen 0 1 2 0 1 2 …, and a coin."""
    seen = []

    def coin(ids):
        seen.append(ids.shape)
        return torch.tensor([[0.25, 0.75, 0.0]])

    drawn = draw_tokens(coin, torch.tensor([[2]]), 400, seed=1)[0, 1:]
    assert seen == [(1, length) for length in range(1, 401)]
    assert drawn.max() == 1 and drawn.double().mean().item() == pytest.approx(0.75, abs=0.07)
    table = NGram(torch.arange(3000) % 3, 3, 2)
    assert draw_tokens(table.next_probs, torch.tensor([[1, 2]]), 6, seed=3).tolist() == [[1, 2, 0, 1, 2, 0, 1, 2]]


def test_each_row_goes_on_from_its_own_tokens_with_draws_of_its_own():
    table = NGram(torch.arange(3000) % 3, 3, 2)
    assert draw_tokens(table.next_probs, torch.tensor([[0], [2]]), 4, seed=1).tolist() == [[0, 1, 2, 0, 1], [2, 0, 1, 2, 0]]
    first, second = draw_tokens(lambda ids: torch.full((len(ids), 2), 0.5), torch.zeros(2, 1, dtype=torch.int64), 60, seed=1)
    assert not torch.equal(first, second)


def test_the_same_seed_draws_the_same_tokens_and_touches_no_other_random_number(model):
    def write(seed):
        return draw_tokens(lambda ids: model(ids)[:, -1].softmax(-1), PROMPT[:1], 8, seed)

    before = torch.get_rng_state(), random.getstate()
    assert torch.equal(write(1), write(1)) and not torch.equal(write(1), write(2))
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]


def test_top_k_draws_among_k_tokens_even_when_many_are_equally_likely(model):
    torch.nn.init.zeros_(model.out_head.weight)
    prompt = PROMPT[:1].repeat(500, 1)
    for top_k, kinds in ((1, 1), (3, 3), (1000, 97)):
        drawn = generate(model, prompt.repeat(4, 1), 1, 16, top_k=top_k, generator=torch.Generator().manual_seed(1))
        assert drawn[:, -1].unique().numel() == kinds


def test_a_prompt_may_be_a_list_or_a_row(model):
    batch = generate_text_simple(model, PROMPT[:1], 5, 16)
    for prompt in (PROMPT[0].tolist(), PROMPT[0], PROMPT[:1].tolist(), tuple(PROMPT[0].tolist())):
        assert torch.equal(generate_text_simple(model, prompt, 5, 16), batch)
        assert torch.equal(generate(model, prompt, 5, 16, temperature=0), batch)


@pytest.mark.parametrize("new", [0, 5])
@pytest.mark.parametrize("prompt", [[], [[]], torch.zeros(0, dtype=torch.int64), [1.5], [97],
                                    torch.zeros(1, 1, 1, dtype=torch.int64), "Every effort", ["Every"], None, {"input_ids": [1]},
                                    [[1, 2], [3]], [1, None], [2**70], torch.ones(1, 2, device="meta")])
def test_a_prompt_that_is_none_is_refused_in_one_line(model, prompt, new):
    with pytest.raises(ValueError, match=r"^got ") as caught:
        generate_text_simple(model, prompt, new, 16)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["gpt2", PROMPT, GPTModel, None, torch.nn.Linear(2, 2), torch.nn.Sequential(GPTModel(SMALL))])
def test_what_is_no_model_is_refused_in_one_line(wrong):
    for write in (generate_text_simple, generate):
        with pytest.raises(ValueError, match=rf"^got a model of type {type(wrong).__name__}\b.* need a GPTModel") as caught:
            write(wrong, PROMPT, 1, 16)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_model_with_broken_weights_draws_nothing_and_says_why(model, number):
    torch.nn.init.constant_(model.out_head.weight, number)
    with pytest.raises(ValueError, match="the model's logits are nan or infinite"):
        generate(model, PROMPT, 1, 16)


def test_a_row_that_has_drawn_the_stop_token_gets_no_other(model):
    free = generate(model, PROMPT, 12, 16, temperature=0)
    stop = free[0, 5].item()
    assert stop not in free[0, 3:5].tolist()
    stopped = generate(model, PROMPT, 12, 16, temperature=0, stop_token=stop)
    ends = [row[3:].tolist().index(stop) if stop in row[3:] else 12 for row in free]
    assert stopped.shape[1] == 3 + min(12, max(ends) + 1)
    for row, whole, end in zip(stopped, free, ends, strict=True):
        assert row[: 4 + end].tolist() == whole[: 4 + end].tolist()[: len(row)] and set(row[4 + end:].tolist()) <= {stop}
    alone = generate(model, PROMPT[0], 12, 16, temperature=0, stop_token=stop)
    assert alone.tolist() == [free[0, :6].tolist()]


@pytest.mark.parametrize("stop", ["a", 1.5, -1, [1, 2], 97, 10**30])
def test_what_is_no_stop_token_is_refused(model, stop):
    with pytest.raises(ValueError, match="got stop_token="):
        generate(model, PROMPT, 5, 16, stop_token=stop)


def test_a_temperature_too_small_to_divide_by_is_greedy(model):
    assert torch.equal(generate(model, PROMPT, 5, 16, temperature=1e-46), generate_text_simple(model, PROMPT, 5, 16))


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_a_wrapped_model_writes_as_the_model_inside(model, wrap):
    assert torch.equal(generate(wrap(model), PROMPT, 5, 16, temperature=0), generate_text_simple(model, PROMPT, 5, 16))


@pytest.mark.parametrize(("setting", "bad"), [
    *(("temperature", bad) for bad in (-1, float("nan"), "hot", None, 1j, torch.ones(2))), ("top_k", 0)])
def test_impossible_settings_are_refused(model, setting, bad):
    with pytest.raises(ValueError, match=re.escape(f"got {setting}={bad!r}")):
        generate(model, PROMPT, 1, 16, **{setting: bad})


@pytest.mark.parametrize("context_size", [0, -1])
def test_a_context_of_nothing_is_refused(model, context_size):
    for write in (generate_text_simple, generate):
        with pytest.raises(ValueError, match=f"got context_size={context_size}, need"):
            write(model, PROMPT, 1, context_size)


def test_more_context_than_the_model_takes_is_refused_before_anything_is_written(model):
    for write in (generate_text_simple, generate):
        with pytest.raises(ValueError, match="got context_size=100 for text of 17 tokens, the model takes at most 16"):
            write(model, [1, 2], 16, 100)
        assert write(model, [1, 2], 15, 100).shape == (1, 17)


@pytest.mark.parametrize(("ids", "text", "length"), [
    ([1, 2, 3], [9, 1, 2, 3, 9], 3), ([1, 2, 3], [1, 2, 9, 2, 3], 2), ([1, 2], [3, 4], 0), ([7], [7], 1),
    ([5, 5, 5], [5, 5], 2), ([1, 2, 3, 4], [3, 4, 1, 2], 2), ([], [1], 0)])
def test_the_longest_match_is_the_longest_run_in_common(ids, text, length):
    assert longest_match(torch.tensor(ids, dtype=torch.int64), torch.tensor(text)) == longest_match(ids, text) == length
