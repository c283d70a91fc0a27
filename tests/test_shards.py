"""A text of any size on disk: its tokens are those of the whole text, made in flat memory, whatever happens on the way."""
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small import TOKENIZER as NO_TOKENIZER

from gpt_helpers import corpus, shards
from gpt_helpers.checkpoint import describe_data
from gpt_helpers.corpus import CUT, find_texts
from gpt_helpers.data import TokenWindows, create_dataloader, split_tokens
from gpt_helpers.language import HarbourLog
from gpt_helpers.shards import encode_texts, open_tokens
from gpt_helpers.text import END_OF_TEXT, get_tokenizer, load_text, text_to_token_ids

sys.path.append(str(Path(__file__).parent / "benchmarks"))
import large_text

TOKENIZER = get_tokenizer()
NASTY = ["the", " sea", " ", "\n", "\r", "\r\n", "\t", "'", "'s", "'ll", "12", "²", "½", "_", ".", ",", "?!", "é", "e\u0301",
         "\u0301", "中文", "。", "，", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\u200b", "\ufeff", "😀", "👩\u200d👧", "ß",
         "Ⅷ", "\u0939", "\u093f", END_OF_TEXT, "<|"]
TALES = "".join(f"{piece}{other} " for piece in NASTY for other in NASTY)      # a space after every pair: it can always be cut


def encode(words):
    return text_to_token_ids(words, TOKENIZER)[0].tolist()


@pytest.fixture
def small(monkeypatch):
    """Pieces and shards so small that a short text has many."""
    monkeypatch.setattr(corpus, "PIECE", 200)
    monkeypatch.setattr(shards, "SHARD", 300)


@pytest.fixture
def story(tmp_path):
    """A folder with the story, nasty texts and what is no text in it."""
    folder = tmp_path / "texts"
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbf" + load_text()[:3000].replace("\n", "\r\n").encode())
    (folder / "b" / "deep" / "tales.md").write_bytes(TALES.encode())
    (folder / "c.TXT").write_text("The last one.\n\n", encoding="utf-8")
    (folder / "empty.txt").touch()
    for name in (".hidden/x.txt", "b/.x.txt", "b/table.csv"):
        (folder / name).write_text("not this", encoding="utf-8")
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(NASTY), min_size=1, max_size=40).map("".join))
@example("don't, 3.5  \n\n x")
@example("a\u3000 b")
def test_wherever_a_text_may_be_cut_its_tokens_are_those_of_the_whole(words):
    whole = encode(words)
    for i in range(1, len(words)):
        found = CUT.match(words[: i + 1])
        if found and found.end() == i:
            assert encode(words[:i]) + encode(words[i:]) == whole, (words[:i], words[i:])


def test_there_is_a_place_to_cut_in_any_usual_text():
    """Spaces are enough, and line ends, and where there are none, marks."""
    for words, end in {"the red boat": 7, "one\ntwo": 3, "one\r\ntwo": 3, "海很深。船回来了": 3, "a,b,c": 3}.items():
        assert CUT.match(words).end() == end
    assert not CUT.match("x" * 1000) and not CUT.match("   \n\n")


def test_a_file_has_the_tokens_of_its_text(small, tmp_path):
    texts = [TALES, load_text(), "\ufeffone\r\ntwo\rthree", " ".join("é中😀" * 200), "x"]
    for i, raw in enumerate(map(str.encode, texts)):
        path, folder = tmp_path / f"{i}.txt", tmp_path / str(i)
        path.write_bytes(raw)
        folder.mkdir()
        ids = encode_texts(path, folder, TOKENIZER)
        assert ids.dtype == torch.uint16 and ids.tolist() == encode(load_text(path))
        assert np.memmap(folder / "tokens.bin", "<u2", mode="r").tolist() == ids.tolist()


def test_a_text_with_no_place_to_cut_still_decodes_to_itself(small, tmp_path):
    for i, words in enumerate(["x" * 5000, " " * 5000, "😀" * 1000, "\r\n" * 999 + "\r", " " + "\r\n" * 999]):
        (tmp_path / f"{i}.txt").write_bytes(words.encode())
        (tmp_path / str(i)).mkdir()
        ids = encode_texts(tmp_path / f"{i}.txt", tmp_path / str(i), TOKENIZER)
        assert TOKENIZER.decode(ids.tolist()) == words.replace("\r\n", "\n").replace("\r", "\n")


def test_a_folder_is_its_texts_in_order_with_the_end_of_text_between_them(small, story, tmp_path):
    names = ["a.txt", "b/deep/tales.md", "c.TXT"]
    assert find_texts(story) == [story / name for name in names]
    ids = encode_texts(story, tmp_path, TOKENIZER)
    one, two, three = (encode(load_text(story / name)) for name in names)
    assert ids.tolist() == [*one, TOKENIZER.eot_token, *two, TOKENIZER.eot_token, *three]


def test_the_json_says_what_the_tokens_are(small, story, tmp_path):
    ids = encode_texts(story, tmp_path, TOKENIZER)
    about, raw = json.loads((tmp_path / "tokens.json").read_text(encoding="utf-8")), (tmp_path / "tokens.bin").read_bytes()
    assert (about["tokenizer"], about["vocab_size"], about["dtype"], about["tokens"]) == ("gpt2", 50257, "uint16", len(ids))
    assert [source["name"] for source in about["sources"]] == ["a.txt", "b/deep/tales.md", "c.TXT"]
    for source in about["sources"]:
        content = (story / source["name"]).read_bytes()
        assert source["bytes"] == len(content) and source["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(about["shards"]) > 5 and len(raw) == 2 * len(ids)
    for shard in about["shards"]:
        part, raw = raw[: 2 * shard["tokens"]], raw[2 * shard["tokens"] :]
        assert shard["sha256"] == hashlib.sha256(part).hexdigest()
    assert raw == b""


def test_a_large_vocabulary_takes_32_bits(tmp_path):
    large = SimpleNamespace(encode=lambda words: [70_000 + ord(c) for c in words], n_vocab=200_000)
    (tmp_path / "a.txt").write_text("abc", encoding="utf-8")
    ids = encode_texts(tmp_path / "a.txt", tmp_path, large)
    assert ids.dtype == torch.uint32 and ids.tolist() == [70_097, 70_098, 70_099]
    assert (tmp_path / "tokens.bin").stat().st_size == 12
    assert [part.tolist() for part in TokenWindows(ids, 2)[0]] == [[70_097, 70_098], [70_098, 70_099]]


@pytest.mark.parametrize(("token", "size"), [(70_000, 256), (-1, 256), (256, 256)])
def test_a_token_beyond_the_vocabulary_is_refused_and_not_cut_to_16_bits(token, size, tmp_path):
    (tmp_path / "a.txt").write_text("abc", encoding="utf-8")
    with pytest.raises(ValueError, match=f"got token ids from .*{token}.* of a tokenizer whose n_vocab is {size}"):
        encode_texts(tmp_path / "a.txt", tmp_path, SimpleNamespace(encode=lambda words: [1, token], n_vocab=size))


# Stopped, damaged, mistaken.

@pytest.mark.parametrize("stop", [0, 1, 2, 7, 30, 61])
def test_stopped_after_any_piece_it_ends_with_the_same_bytes(small, story, tmp_path, stop, monkeypatch):
    whole, other = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir(), other.mkdir()
    encode_texts(story, whole, TOKENIZER)
    calls, starts = [], []

    def stopping(words, tokenizer):
        calls.append(1)
        if len(calls) == stop + 1:
            raise KeyboardInterrupt
        return text_to_token_ids(words, tokenizer)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "text_to_token_ids", stopping)
        with pytest.raises(KeyboardInterrupt):
            encode_texts(story, other, TOKENIZER)
    encode_texts(story, other, TOKENIZER, progress=lambda done, total: starts.append((done, total)))
    assert files(other) == files(whole)
    assert starts[-1][0] == starts[-1][1] == sum(path.stat().st_size for path in find_texts(story))
    if stop > 20:
        assert len(starts) < len(json.loads(files(whole)["tokens.json"])["shards"])      # it did not begin anew


def test_what_is_complete_is_not_written_again(small, story, tmp_path):
    ids = encode_texts(story, tmp_path, TOKENIZER)
    times = [path.stat().st_mtime_ns for path in (tmp_path / "tokens.bin", tmp_path / "tokens.json")]
    facts_alone = SimpleNamespace(name="gpt2", n_vocab=50257, eot_token=50256)      # it could not encode
    assert encode_texts(story, tmp_path, facts_alone).tolist() == open_tokens(tmp_path).tolist() == ids.tolist()
    assert times == [path.stat().st_mtime_ns for path in (tmp_path / "tokens.bin", tmp_path / "tokens.json")]


@pytest.mark.parametrize("damage", ["a byte", "cut", "longer", "gone"])
def test_damage_is_noticed_and_mended(small, story, tmp_path, damage):
    ids = encode_texts(story, tmp_path, TOKENIZER).tolist()
    path = tmp_path / "tokens.bin"
    before = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"a byte": before[:2000] + bytes([before[2000] ^ 1]) + before[2001:], "cut": before[:3001],
                          "longer": before + b"xx"}[damage])
    if damage == "longer":      # what is behind the last shard is of no account
        assert open_tokens(tmp_path).tolist() == ids
    else:
        with pytest.raises(ValueError, match=r"only the first \d shards are there and whole: encode the text again"):
            open_tokens(tmp_path)
    assert encode_texts(story, tmp_path, TOKENIZER).tolist() == ids
    assert path.read_bytes() == before and open_tokens(tmp_path).tolist() == ids


def test_tokens_that_are_not_all_there_are_not_opened(small, story, tmp_path):
    encode_texts(story, tmp_path, TOKENIZER)
    about = shards.read_about(tmp_path)
    shards.write_about(tmp_path, about | {"shards": about["shards"][:-1]})
    with pytest.raises(ValueError, match=f"only the first {len(about['shards']) - 1} shards"):
        open_tokens(tmp_path)
    shards.write_about(tmp_path, about)
    whole = (tmp_path / "tokens.json").read_text(encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="there are no tokens in"):
        open_tokens(story)
    twice = re.sub(r'"next": \[\s*0,\s*\d+', '"next": [0, 5', whole, count=1)      # some of the text would be encoded twice
    for broken in ("", "{}", "[1]", '{"sources": [1], "shards": [{}]}', '{"sources": [', twice,
                   whole.replace('"tokens": ', '"tokens": 1', 1)):
        assert broken != whole
        (tmp_path / "tokens.json").write_text(broken)
        for use in (open_tokens, lambda folder: encode_texts(story, folder, TOKENIZER)):
            with pytest.raises(ValueError, match=r"tokens\.json is damaged: delete it and tokens\.bin"):
                use(tmp_path)


def test_another_text_or_tokenizer_is_refused_and_nothing_is_lost(small, story, tmp_path):
    encode_texts(story, tmp_path, TOKENIZER)
    before = {name: (tmp_path / name).read_bytes() for name in ("tokens.bin", "tokens.json")}
    with pytest.raises(ValueError, match="holds the tokens of another tokenizer"):
        encode_texts(story, tmp_path, NO_TOKENIZER)
    (story / "c.TXT").write_text("The last onE.\n\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds the tokens of another text, or it has changed since: use another folder"):
        encode_texts(story, tmp_path, TOKENIZER)
    with pytest.raises(ValueError, match="holds the tokens of another text, or it has changed since: encode it first"):
        open_tokens(tmp_path, story)
    (story / "c.TXT").write_text("The last one.\n\n", encoding="utf-8")
    assert open_tokens(tmp_path, story).tolist() == open_tokens(tmp_path).tolist()
    assert before == {name: (tmp_path / name).read_bytes() for name in before}


@pytest.mark.parametrize(("raw", "words"), [
    (b"good words, many of them. " * 30 + b"\xff", "byte 0xff at offset 780 fits no character"),
    ("abc".encode("utf-16"), "is not UTF-8"), ("abc".encode("utf-16-le"), "NUL characters"), (b"\xe4\xb8", "offset 0 fits"),
    (b"", "there is no text in"), (b"\xef\xbb\xbf", "there is no text in")])
def test_a_file_that_is_no_text_is_refused_in_one_line(raw, words, small, tmp_path):
    (tmp_path / "a.txt").write_bytes(raw)
    with pytest.raises(ValueError, match=words) as error:
        encode_texts(tmp_path / "a.txt", tmp_path, TOKENIZER)
    assert "\n" not in str(error.value) and "a.txt" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_one_bad_file_is_refused_before_any_other_is_encoded(small, story, tmp_path):
    (story / "z.txt").write_bytes("é".encode() * shards.SHARD + b"\xe4")
    with pytest.raises(ValueError, match=rf"z\.txt is not UTF-8: byte 0xe4 at offset {2 * shards.SHARD:,} fits no"):
        encode_texts(story, tmp_path, TOKENIZER)
    assert not (tmp_path / "tokens.bin").exists()


def test_a_text_or_folder_that_is_not_there_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no text at .*gone\.txt \(looked from"):
        encode_texts(tmp_path / "gone.txt", tmp_path, TOKENIZER)
    with pytest.raises(ValueError, match=r"there is no text in .* \(\.txt or \.md\)"):
        encode_texts(tmp_path, tmp_path, TOKENIZER)


def test_a_subfolder_that_cannot_be_read_is_not_left_out_in_silence(story, monkeypatch):
    closed, scandir = story / "closed", os.scandir
    closed.mkdir()

    def refusing(path):
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match="closed"):
        find_texts(story)


def test_a_file_that_shrinks_while_it_is_read_ends_with_an_error_and_not_never(small, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("word " * 500)

    def shrinking(words, tokenizer):
        (tmp_path / "a.txt").write_text("word")
        return text_to_token_ids(words, tokenizer)

    monkeypatch.setattr(shards, "text_to_token_ids", shrinking)
    with pytest.raises(OSError, match="became shorter while it was read"):
        encode_texts(tmp_path / "a.txt", tmp_path, TOKENIZER)


# As training data.

def test_windows_split_and_loader_are_those_of_the_ids_in_memory(small, story, tmp_path):
    disk = encode_texts(story, tmp_path, TOKENIZER)
    memory = disk.long()
    for a, b in zip(split_tokens(disk), split_tokens(memory), strict=True):
        assert torch.equal(a.long(), b)
        torch.manual_seed(5)
        batches = list(create_dataloader(a, 4, 8, shuffle=True))
        torch.manual_seed(5)
        for (x, y), (u, v) in zip(batches, create_dataloader(b, 4, 8, shuffle=True), strict=True):
            assert x.dtype == y.dtype == torch.int64 and torch.equal(x, u) and torch.equal(y, v)


def test_the_parts_are_views_of_the_file(small, story, tmp_path):
    ids = encode_texts(story, tmp_path, TOKENIZER)
    split = split_tokens(ids)
    assert split.val.data_ptr() == ids.data_ptr() + 2 * len(split.train)
    assert TokenWindows(split.val, 8).ids.data_ptr() == split.val.data_ptr()


def test_a_checkpoint_knows_the_ids_on_disk(small, story, tmp_path):
    """By their digest; a file of the same length with one other id is another text."""
    ids = encode_texts(story, tmp_path, TOKENIZER)
    facts = describe_data(create_dataloader(ids, 4, 8))
    assert facts["sha256"] == hashlib.sha256((tmp_path / "tokens.bin").read_bytes()).hexdigest()
    other = ids.numpy().copy()
    other[len(ids) // 2] += 1
    other = torch.from_numpy(other)
    assert describe_data(create_dataloader(other, 4, 8)) != facts


# Real size.

@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    """SIGKILL, after a random time, a few times; then once without."""
    path, chance = tmp_path / "a.txt", random.Random(1)
    path.write_text(load_text() * 100, encoding="utf-8")
    code = ("import sys; from gpt_helpers import corpus, shards, text; shards.SHARD, corpus.PIECE = 20_000, 5_000; "
            "tokenizer = text.get_tokenizer(); print('ready', flush=True); shards.encode_texts(*sys.argv[1:], tokenizer)")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-c", code, str(path)]
    process = subprocess.Popen([*command, str(tmp_path / "whole")], stdout=subprocess.PIPE)
    process.stdout.readline()
    start = time.perf_counter()
    process.wait()
    seconds, kills = time.perf_counter() - start, 0
    while kills < 8:
        process = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.PIPE)
        process.stdout.readline()
        try:
            process.wait(chance.uniform(0, seconds / 2))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 2
    subprocess.run([*command, str(tmp_path / "killed")], check=True, stdout=subprocess.DEVNULL)
    killed = {name: raw for name, raw in files(tmp_path / "killed").items() if not name.endswith(".tmp")}
    assert killed == files(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures a process as Linux does")
def test_memory_does_not_grow_with_the_text(tmp_path):
    """Encoding 30 MB, and training on them, takes hardly more than 3 MB do; in memory it would be 200 MB more."""
    peaks = {size: {row["phase"]: row["peak"] - row["mapped"] for row in large_text.measure(size)} for size in (3, 30)}
    for phase, peak in peaks[30].items():
        assert peak - peaks[3][phase] < 40, peaks


def test_the_language_of_the_lessons_is_a_text_like_any_other(small, tmp_path):
    log = HarbourLog()
    words = log.tokenizer.decode(log.write(2000, seed=1).tolist()[1:])
    (tmp_path / "log.txt").write_text(words, encoding="utf-8")
    ids = encode_texts(tmp_path / "log.txt", tmp_path, log.tokenizer)
    assert ids.tolist() == text_to_token_ids(words, log.tokenizer)[0].tolist()
