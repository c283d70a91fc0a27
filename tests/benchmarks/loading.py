"""A large text, from the file to batches: speed against tiktoken alone, and memory: python loading.py [MEGABYTES]

Each way runs in a process of its own, so that the peak of one is not seen by the other.
"""
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def peak():
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tiktoken_alone(path):
    """Seconds and MB for tiktoken's own encode_ordinary."""
    from gpt_helpers.text import get_tokenizer
    tokenizer, text = get_tokenizer(), path.read_text(encoding="utf-8")
    before, start = peak(), time.perf_counter()
    tokens = len(tokenizer.encode_ordinary(text))
    return time.perf_counter() - start, peak() - before, tokens


def ours(path):
    """Seconds and MB for text to ids, split, windows and the first batch."""
    from gpt_helpers.data import create_dataloader, split_tokens
    from gpt_helpers.text import get_tokenizer, load_text, text_to_token_ids
    tokenizer, text = get_tokenizer(), load_text(path)
    before, start = peak(), time.perf_counter()
    split = split_tokens(text_to_token_ids(text, tokenizer), context_length=256)
    seconds, after = time.perf_counter() - start, peak()
    loader = create_dataloader(split.train, 8, 256, shuffle=False)
    for _, (inputs, targets) in zip(range(1000), loader, strict=False):
        assert inputs.shape == targets.shape
    assert peak() - after < 20, "windows are copies"
    return seconds, peak() - before, sum(map(len, split))


def compare_loading(megabytes):
    """Both, in turn, on the story again and again: rows of (name, MB a second, MB more at the peak, bytes a token)."""
    from gpt_helpers.text import load_text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.txt")
        story = load_text()
        path.write_text(story * (int(megabytes * 1e6) // len(story) + 1), encoding="utf-8")
        for name in ("tiktoken_alone", "ours", "ours", "tiktoken_alone"):
            command = [sys.executable, __file__, name, str(path)]
            out = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
            seconds, memory, tokens = map(float, out.split())
            yield (name.replace("_", " "), f"{path.stat().st_size / 1e6 / seconds:.1f}", f"{memory:,.0f}",
                   f"{memory * 2**20 / tokens:.1f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(*{"ours": ours, "tiktoken_alone": tiktoken_alone}[sys.argv[1]](Path(sys.argv[2])))
    else:
        for row in compare_loading(float(sys.argv[1]) if len(sys.argv) > 1 else 100):
            print("{}: {} MB a second, {} MB more, {} bytes a token".format(*row))
