"""Strange texts and settings, tried in bulk: what comes out is right, or it is an error in one line."""
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small import CFG, training, with_parts

from gpt_helpers.data import TokenWindows, create_dataloader, split_tokens
from gpt_helpers.model import GPTModel
from gpt_helpers.text import get_tokenizer, load_text, text_to_token_ids, token_ids_to_text
from gpt_helpers.train import train_model
from gpt_helpers.weights import save_weights

TOKENIZER = get_tokenizer()
EVERYTHING = st.characters(codec=None, categories=None)                  # surrogates and NUL, too
PIECES = ["the sea", "\r\n", "\n", "\r", "\0", "\ud800", "\U0001f600", "ß", "<|endoftext|>", " "]
TEXTS = st.one_of(st.text(EVERYTHING), st.text("ab \r\n\t", max_size=300), st.lists(st.sampled_from(PIECES)).map("".join),
                  st.text(EVERYTHING, min_size=1, max_size=1).map(lambda character: character * 5000))
NUMBERS = st.one_of(st.integers(-3, 40), st.floats(), st.booleans(), st.none(), st.just("2"))
SHARES = st.one_of(st.floats(0, 1), st.floats(), st.integers(-1, 2))
bulk = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_line_or(function, *args, **kwargs):
    """What a function returns, or None when it refuses with an error of one line."""
    try:
        return function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        assert str(error) and "\n" not in str(error)
        return None


@pytest.mark.parametrize(("call", "words"), [
    (lambda: text_to_token_ids(["a", "b"], TOKENIZER), "got a text of type list, need a str"),
    (lambda: text_to_token_ids(TOKENIZER, "a"), r"got a text of type Encoding, need a str: text_to_token_ids\(text, tokenizer\)"),
    (lambda: token_ids_to_text(torch.rand(1, 5), TOKENIZER), r"got torch.float32 ids .* need integers.* of logits the argmax"),
    (lambda: create_dataloader(np.arange(100), 2, 8), "got ids of type ndarray, need a tensor of int64"),
    (lambda: save_weights(GPTModel(CFG), "w.safetensors"), "got a model of type str, need a GPTModel: look at the order"),
    (lambda: train_model(*with_parts(training(), model=3)), "got a model of type int, need a GPTModel"),
    (lambda: train_model(*with_parts(training(), optimizer=torch.optim.AdamW)), "got an optimizer of type type, need one made"),
    (lambda: train_model(*with_parts(training(), val_loader=torch.arange(9))), r"got a tensor of shape \(9,\), need a loader")])
def test_what_people_mix_up_is_told_in_one_line(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.slow
@bulk
@given(text=TEXTS)
@example(text="")
@example(text="a" * 1_000_000)
@example(text=" " * 1_000_000)
@example(text="\ud800")
def test_any_text_becomes_ids_and_comes_back(text):
    ids = text_to_token_ids(text, TOKENIZER)
    assert ids.dtype == torch.int64 and ids.shape[0] == 1 and ids.ndim == 2
    assert token_ids_to_text(ids, TOKENIZER) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert ids.tolist() == [TOKENIZER.encode(text, allowed_special={"<|endoftext|>"})]


@pytest.mark.slow
@bulk
@given(raw=st.one_of(st.binary(), TEXTS.map(lambda text: text.encode("utf-8", "replace")),
                     TEXTS.map(lambda text: text.encode("utf-16", "replace"))))
@example(raw=b"")
@example(raw=b"\xef\xbb\xbf")
def test_any_file_is_a_text_or_refused_in_one_line(raw, tmp_path):
    (tmp_path / "text.txt").write_bytes(raw)
    text = one_line_or(load_text, tmp_path / "text.txt")
    if text is None:
        return
    assert text.strip() and "\r" not in text and "\0" not in text
    assert text == raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


@bulk
@given(n=st.integers(0, 60), train=SHARES, val=SHARES, context_length=NUMBERS)
def test_any_split_covers_the_ids_exactly_or_is_refused(n, train, val, context_length):
    ids = torch.arange(n)
    split = one_line_or(split_tokens, ids, train, val, context_length=context_length)
    if split is not None:
        assert torch.equal(torch.cat(split), ids)                        # in order, nothing lost, nothing twice
        first, second = len(split.train), len(split.train) + len(split.val)
        assert abs(first - train * n) <= 0.5 + 1e-6 and abs(second - (train + val) * n) <= 0.5 + 1e-6


@pytest.mark.slow
@bulk
@given(n=st.integers(0, 60), context_length=NUMBERS, stride=NUMBERS, batch_size=NUMBERS, shuffle=st.booleans(),
       drop_last=st.booleans())
def test_in_any_loader_every_target_is_the_next_id_or_it_is_refused(n, context_length, stride, batch_size, shuffle, drop_last):
    loader = one_line_or(create_dataloader, torch.arange(n), batch_size, context_length, stride,
                         shuffle=shuffle, drop_last=drop_last)
    if loader is None:
        return
    batches = list(loader)
    assert len(batches) == len(loader) > 0
    for inputs, targets in batches:
        assert inputs.shape == targets.shape and inputs.shape[1] == context_length
        assert torch.equal(targets, inputs + 1) and targets.max() < n    # ids count up, so the next id is one more
    starts = torch.cat([inputs[:, 0] for inputs, _ in batches]).sort().values
    assert len(starts.unique()) == len(starts) and (starts % (stride or context_length) == 0).all()
    windows = len(range(0, n - context_length, context_length if stride is None else stride))
    assert len(starts) == (windows // batch_size * batch_size if drop_last else windows)


@bulk
@given(n=st.integers(0, 30), context_length=NUMBERS, stride=NUMBERS, i=st.integers(-5, 40))
def test_any_window_is_whole_or_refused(n, context_length, stride, i):
    windows = one_line_or(TokenWindows, torch.arange(n), context_length, stride)
    if windows is None:
        return
    if not 0 <= i < len(windows):
        try:
            windows[i]
        except IndexError as error:
            assert "\n" not in str(error)
        else:
            raise AssertionError(f"window {i} of {len(windows)}")
        return
    inputs, targets = windows[i]
    assert len(inputs) == len(targets) == context_length and torch.equal(inputs + 1, targets)
