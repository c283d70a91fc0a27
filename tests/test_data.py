"""The split, the windows and the loaders."""
import pytest
import torch
from torch.utils.data import Subset

from gpt_helpers.data import TokenWindows, all_targets, create_dataloader, split_tokens
from gpt_helpers.text import get_tokenizer, load_text, text_to_token_ids


def test_the_split_is_80_10_10_by_tokens():
    split = split_tokens(torch.arange(100))
    assert [len(part) for part in split] == [80, 10, 10]
    assert split.train.tolist() == list(range(80))
    assert split.val.tolist() == list(range(80, 90))
    assert split.test.tolist() == list(range(90, 100))


@pytest.mark.parametrize("total", range(2570, 2590))
def test_validation_and_test_have_equally_many_tokens_or_differ_by_one(total):
    split = split_tokens(torch.arange(total))
    assert abs(len(split.val) - len(split.test)) <= 1


@pytest.mark.parametrize("total", [0, 1, 2, 9, 10, 11, 5421])
@pytest.mark.parametrize("fractions", [(0.8, 0.1), (0.7, 0.2), (0.29, 0.58), (1 / 3, 1 / 3), (0, 0), (1, 0), (0.9, 0.1), (0, 1)])
def test_nothing_is_lost_or_shared(total, fractions):
    ids = torch.arange(total)
    assert torch.equal(torch.cat(split_tokens(ids, *fractions)), ids)


def test_the_cuts_fall_on_the_nearest_token():
    assert [len(part) for part in split_tokens(torch.arange(10), 0.7, 0.2)] == [7, 2, 1]      # 0.7 + 0.2 is 0.8999…
    assert [len(part) for part in split_tokens(torch.arange(100), 0.29, 0.58)] == [29, 58, 13]


def test_the_parts_are_views_and_a_batch_of_one_is_one_row():
    ids = torch.arange(50).unsqueeze(0)
    assert split_tokens(ids).val.data_ptr() == ids[0, 40:].data_ptr()


def test_targets_are_the_inputs_one_step_later():
    [(x, y)] = create_dataloader(torch.arange(9), batch_size=2, context_length=4)
    assert x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert y.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert x.dtype == y.dtype == torch.int64


@pytest.mark.parametrize(("tokens", "stride", "windows"), [
    (5, None, 1), (8, None, 1), (9, None, 2), (9, 1, 5), (10, 3, 2), (5, 9, 1)])
def test_a_window_needs_one_token_more_than_the_context(tokens, stride, windows):
    dataset = TokenWindows(torch.arange(tokens), 4, stride)
    assert len(dataset) == len(list(dataset)) == windows
    assert all(len(x) == len(y) == 4 for x, y in dataset)


def test_a_shorter_stride_overlaps():
    assert [x.tolist() for x, _ in TokenWindows(torch.arange(6), 3, stride=1)] == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_a_token_is_a_target_as_often_as_windows_ask_for_it():
    windows = TokenWindows(torch.arange(6), 3, stride=1)
    assert all_targets(windows).tolist() == [1, 2, 3, 2, 3, 4, 3, 4, 5]
    assert all_targets(Subset(windows, [2, 0])).tolist() == [3, 4, 5, 1, 2, 3]


def test_windows_do_not_copy_the_ids():
    ids = torch.arange(100)
    assert TokenWindows(ids, 10)[3][0].data_ptr() == ids[30:].data_ptr()


def test_shuffling_changes_the_order_and_nothing_else():
    loader = create_dataloader(torch.arange(101), batch_size=1, context_length=4, shuffle=True)
    torch.manual_seed(123)
    first, second = ([x[0, 0].item() for x, _ in loader] for _ in range(2))
    assert first != second and sorted(first) == sorted(second) == list(range(0, 100, 4))
    torch.manual_seed(123)
    assert [x[0, 0].item() for x, _ in loader] == first


def test_drop_last_leaves_out_the_batch_that_is_not_full():
    sizes = [len(x) for x, _ in create_dataloader(torch.arange(13), batch_size=2, context_length=4)]
    assert sizes == [2, 1]
    assert len(create_dataloader(torch.arange(13), batch_size=2, context_length=4, drop_last=True)) == 1


def test_at_context_256_and_batch_2_no_part_of_the_story_is_empty():
    split = split_tokens(text_to_token_ids(load_text(), get_tokenizer()), context_length=256)
    for part in split:
        assert len(create_dataloader(part, batch_size=2, context_length=256, drop_last=True)) >= 1


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.5, -0.1), (0.8, 0.3), (1.1, 0), (float("nan"), 0.1)])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions must not be negative, and together at most 1"):
        split_tokens(torch.arange(10), *fractions)


def test_a_text_too_short_for_one_window_says_what_was_needed():
    with pytest.raises(ValueError, match=r" 120 tokens, too few for one window of 257 \(context_length 256 and its next token\)"):
        TokenWindows(torch.arange(120), 256)
    with pytest.raises(ValueError, match="too few for one window"):
        create_dataloader(torch.arange(256), batch_size=2, context_length=256)


def test_a_text_too_short_for_the_split_says_how_much_it_takes():
    with pytest.raises(ValueError, match=r"its val part \(10%\) has 120, too few for one window of 257 .* about 2,570 tokens"):
        split_tokens(torch.arange(1200), context_length=256)
    assert len(split_tokens(torch.arange(2570), context_length=256).test) == 257
    split_tokens(torch.arange(1200), train=1, val=0, context_length=256)      # a part of fraction 0 needs no window


def test_a_drop_last_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"1 window\(s\) do not fill one batch of 2 and drop_last=True leaves none"):
        create_dataloader(torch.arange(300), batch_size=2, context_length=256, drop_last=True)


@pytest.mark.parametrize("ids", [torch.rand(9), torch.tensor([True, False]), [1, 2, 3], torch.zeros(2, 9, dtype=torch.int64),
                                 torch.arange(9, dtype=torch.int32),
                                 torch.tensor(3)])
def test_ids_that_are_not_one_row_of_whole_numbers_are_refused(ids):
    for use in (split_tokens, lambda ids: TokenWindows(ids, 1)):
        with pytest.raises(ValueError, match="got ids of"):
            use(ids)


@pytest.mark.parametrize(("name", "bad"), [("batch_size", 0), ("context_length", -1), ("stride", 0), ("batch_size", 2.0)])
def test_sizes_below_one_are_refused(name, bad):
    sizes = {"batch_size": 1, "context_length": 2, "stride": 1, name: bad}
    with pytest.raises(ValueError, match=f"got {name}={bad}, need an integer of at least 1"):
        create_dataloader(torch.arange(9), **sizes)


@pytest.mark.parametrize("i", [2, -1])
def test_a_window_out_of_range_is_an_index_error(i):
    with pytest.raises(IndexError, match=f"window {i} of 2"):
        TokenWindows(torch.arange(9), 4)[i]


def test_the_split_needs_one_token_more_than_the_context_in_each_part():
    split_tokens(torch.arange(50), context_length=4)                             # 40, 5, 5
    with pytest.raises(ValueError, match="its val part"):
        split_tokens(torch.arange(40), context_length=4)                         # 32, 4, 4
    with pytest.raises(ValueError, match="got context_length=0"):
        split_tokens(torch.arange(50), context_length=0)
