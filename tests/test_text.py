"""Text, tokenizer, and errors that say what to do."""
import re
import subprocess
import sys

import pytest
import torch

from gpt_helpers import text as text_module
from gpt_helpers.text import (
    get_tokenizer,
    load_text,
    text_to_token_ids,
    token_ids_to_text,
    token_texts,
)
from gpt_helpers.words import WordTokenizer, first_lines


def test_the_story_has_the_length_that_the_lessons_count_on():
    ids = text_to_token_ids(load_text(), get_tokenizer())
    assert 5200 <= ids.shape[1] <= 5600


def test_the_story_is_clean_text():
    story = load_text()
    assert story.isascii() and "\t" not in story and "  " not in story
    assert all(line == line.strip() for line in story.split("\n"))
    assert story.count('"') % 2 == 0


def test_the_last_fifth_shares_its_words_with_the_rest():
    words = [word.strip('.,;:!?"').lower() for word in load_text().split()]
    cut = len(words) * 4 // 5
    known = set(words[:cut])
    assert sum(word in known for word in words[cut:]) > 0.8 * len(words[cut:])


def test_the_tokenizer_is_gpt2s():
    tokenizer = get_tokenizer()
    assert tokenizer.name == "gpt2" and tokenizer.n_vocab == 50257
    assert tokenizer.encode("Every effort moves you") == [6109, 3626, 6100, 345]


def test_text_to_ids_and_back_is_the_same_text():
    text = load_text() + " Größe, 温度, 🌊\u200b"
    ids = text_to_token_ids(text, get_tokenizer())
    assert ids.dtype == torch.int64 and ids.shape[0] == 1
    assert token_ids_to_text(ids, get_tokenizer()) == text
    assert token_ids_to_text(ids[0], get_tokenizer()) == text


def test_the_texts_of_the_tokens_are_the_text_in_pieces():
    assert token_texts("The wind was right.<|endoftext|>", get_tokenizer()) == [
        "The", " wind", " was", " right", ".", "<|endoftext|>"]
    assert "".join(token_texts(load_text(), get_tokenizer())) == load_text()
    assert set(token_texts("潮", get_tokenizer())) == {"\ufffd"} and token_texts("", get_tokenizer()) == []


def test_end_of_text_is_one_token():
    assert text_to_token_ids("<|endoftext|>", get_tokenizer()).tolist() == [[50256]]


def test_an_empty_text_is_a_batch_of_no_tokens():
    ids = text_to_token_ids("", get_tokenizer())
    assert ids.shape == (1, 0) and ids.dtype == torch.int64


@pytest.mark.slow
def test_the_tokenizer_needs_no_network(tmp_path):
    code = ("import socket\n"
            "def refuse(*args, **kwargs): raise OSError('network used')\n"
            "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
            "from gpt_helpers.text import get_tokenizer; print(get_tokenizer().encode('sea'))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         env={"TIKTOKEN_CACHE_DIR": str(tmp_path), "SYSTEMROOT": "C:\\Windows"})
    assert run.stdout.strip() == "[8583]", run.stderr
    assert not any(tmp_path.iterdir())


def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    for raw in (b"one\ntwo\n", b"one\r\ntwo\r\n", b"one\rtwo\r", b"\xef\xbb\xbfone\ntwo\n"):
        (tmp_path / "text.txt").write_bytes(raw)
        assert load_text(tmp_path / "text.txt") == "one\ntwo\n"


def test_a_missing_text_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no text file at .*story\.txt"):
        load_text(tmp_path / "story.txt")


def test_a_folder_is_not_a_text(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load_text(tmp_path)


@pytest.mark.parametrize("raw", [b"", b" \n\t\n", b"\xef\xbb\xbf"])
def test_an_empty_text_file_is_refused(tmp_path, raw):
    (tmp_path / "empty.txt").write_bytes(raw)
    with pytest.raises(ValueError, match="has no text in it"):
        load_text(tmp_path / "empty.txt")


def test_a_file_that_is_not_utf8_is_refused_and_the_byte_named(tmp_path):
    (tmp_path / "latin1.txt").write_bytes("eins\nzwei\nGröße".encode("latin-1"))
    with pytest.raises(ValueError, match=r"byte 0xf6 in line 3 \(offset 12\).*save the file as UTF-8"):
        load_text(tmp_path / "latin1.txt")
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfab\r\xf6")
    with pytest.raises(ValueError, match=r"byte 0xf6 in line 2 \(offset 6\)"):
        load_text(tmp_path / "bom.txt")
    (tmp_path / "utf16.txt").write_bytes("Every effort".encode("utf-16"))
    with pytest.raises(ValueError, match=r"byte 0xff in line 1 \(offset 0\)"):
        load_text(tmp_path / "utf16.txt")


@pytest.mark.parametrize("raw", ["Every effort".encode("utf-16-le"), bytes(5000)])
def test_a_file_that_only_looks_like_text_is_refused(tmp_path, raw):
    (tmp_path / "text.txt").write_bytes(raw)
    with pytest.raises(ValueError, match="has NUL characters"):
        load_text(tmp_path / "text.txt")


def test_a_damaged_vocabulary_is_refused(tmp_path, monkeypatch):
    damaged = tmp_path / "gpt2.tiktoken"
    damaged.write_bytes(text_module.RANKS.read_bytes()[:-1])
    monkeypatch.setattr(text_module, "RANKS", damaged)
    get_tokenizer.cache_clear()
    with pytest.raises(ValueError, match=r"gpt2\.tiktoken is damaged: its sha256 is"):
        get_tokenizer()
    damaged.unlink()
    with pytest.raises(FileNotFoundError, match="is missing"):
        get_tokenizer()


@pytest.mark.parametrize("ids", [torch.tensor([1, 50257]), torch.tensor([-1])])
def test_an_unknown_id_is_refused(ids):
    with pytest.raises(ValueError, match="is not in the vocabulary: ids go from 0 to 50256"):
        token_ids_to_text(ids, get_tokenizer())


def test_several_rows_are_not_one_text():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), need integers, \(N,\) or \(1, N\)"):
        token_ids_to_text(torch.zeros(2, 3, dtype=torch.int64), get_tokenizer())


def test_a_tokenizer_of_ones_own_may_be_as_small_as_this():
    class Characters:
        def encode(self, text):
            return [ord(character) - 97 for character in text]

        def decode(self, ids):
            return "".join(chr(97 + i) for i in ids)

    ids = text_to_token_ids("abc", Characters())
    assert ids.tolist() == [[0, 1, 2]] and ids.dtype == torch.int64
    assert [token_ids_to_text(shape, Characters()) for shape in (ids, ids[0], [0, 1, 2])] == ["abc"] * 3
    assert text_to_token_ids("", Characters()).shape == (1, 0)


class Odd:
    """A tokenizer of one's own whose encode gives what it was made with, and whose vocabulary is the letters a to e."""

    def __init__(self, ids):
        self.ids = ids

    def encode(self, text):
        return {letter: i for i, letter in enumerate("abcde")}[text] if self.ids is None else self.ids


@pytest.mark.parametrize(("tokenizer", "needed"), [
    (None, "got a tokenizer of type NoneType, need one with encode"),
    ("gpt2", "got a tokenizer of type str, need one with encode"),
    (Odd, "got a tokenizer of type type, need one with encode"), (Odd([1.5, 2.0]), "encode gave [1.5, 2.0], need token ids"),
    (Odd({"input_ids": [1]}), "encode gave {'input_ids': [1]}, need"), (Odd(["a"]), "encode gave ['a'], need"),
    (Odd(iter([1])), "need token ids: a list of integers"), (Odd([[1], [2, 3]]), "encode gave [[1], [2, 3]], need"),
    (Odd([True]), "encode gave [True], need"),
    (Odd(None), "the tokenizer cannot encode 'z' (KeyError: 'z'): write only what it knows")])
def test_a_tokenizer_that_gives_no_ids_is_refused(tokenizer, needed):
    with pytest.raises(ValueError, match=re.escape(needed)):
        text_to_token_ids("z", tokenizer)


@pytest.mark.parametrize("ids", [[], [3], (3, 4), torch.tensor([[3, 4]]), torch.tensor([3], dtype=torch.int32), range(2)])
def test_a_tokenizer_may_give_ids_in_any_usual_form(ids):
    assert text_to_token_ids("z", Odd(ids)).flatten().tolist() == torch.as_tensor(ids).flatten().tolist()


@pytest.mark.parametrize("ids", [None, "ab", {1: 2}, [[1], [2, 3]], ["a"]])
def test_what_is_no_row_of_ids_has_no_text(ids):
    with pytest.raises(ValueError, match="need token ids, a tensor or a list"):
        token_ids_to_text(ids, get_tokenizer())


def test_the_first_line_of_each_row_may_follow_a_line_end_and_may_be_cut_off_or_empty():
    tokenizer = WordTokenizer(["\n", ".", "red", "boat"])
    assert first_lines(torch.tensor([[0, 0, 2, 3, 1, 0]]), tokenizer) == [""]
    assert first_lines(torch.tensor([[0, 2, 3, 1, 0, 3], [3, 0, 0, 0, 0, 0], [0, 2, 2, 3, 2, 1]]), tokenizer) == [
        "red boat.", "boat", "red red boat red."]
