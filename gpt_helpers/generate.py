"""Text from a model, one token at a time."""
import torch

from gpt_helpers.data import check_positive


def generate_text_simple(model, idx, max_new_tokens, context_size):
    """Append the most likely token, max_new_tokens times (greedy decoding).

    idx: (B, T) token ids, T at least 1. Returns (B, T + max_new_tokens). The model sees the last context_size
    tokens; put it in `eval()` mode first, or dropout will change its mind.
    """
    return extend(model, idx, max_new_tokens, context_size, lambda logits: logits.argmax(dim=-1, keepdim=True))


def generate(model, idx, max_new_tokens, context_size, *, temperature=1.0, top_k=None, generator=None):
    """Append tokens drawn from the model's distribution, sharpened or flattened, max_new_tokens times.

    temperature: the logits are divided by it; below 1 is bolder, above 1 more varied, 0 is greedy.
    top_k: draw only among the k most likely tokens. generator: a `torch.Generator` on the model's device,
    so that the draw does not touch the global random state. Shapes as in `generate_text_simple`. Raises ValueError.
    Source: Fan et al., "Hierarchical Neural Story Generation", 2018 (top-k sampling).
    """
    if not temperature >= 0:
        raise ValueError(f"got temperature={temperature}, need 0 (greedy) or more")
    if top_k is not None:
        check_positive(top_k=top_k)
    if temperature == 0:
        return generate_text_simple(model, idx, max_new_tokens, context_size)

    def draw(logits):
        best = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1]))             # (B, k), falling
        probs = ((best.values - best.values[:, :1]) / temperature).softmax(dim=-1)       # (B, k)
        return best.indices.gather(1, torch.multinomial(probs, 1, generator=generator))  # (B, 1)

    return extend(model, idx, max_new_tokens, context_size, draw)


@torch.no_grad()
def extend(model, idx, max_new_tokens, context_size, choose):
    """Append choose(logits) to idx, max_new_tokens times; logits: (B, V), those of the last position.

    As long as everything fits into the context, each new token alone goes through the model, and the past is
    remembered. Then the window slides, every position in it changes, and nothing that is remembered holds.
    """
    check_positive(context_size=context_size)
    cache, new = model.new_cache(), idx
    for _ in range(max_new_tokens):
        if idx.shape[1] > context_size:
            cache, new = None, idx[:, -context_size:]
        logits = model(new, last_only=True, cache=cache)[:, -1]                          # (B, V)
        new = choose(logits)                                                             # (B, 1)
        idx = torch.cat([idx, new], dim=1)
    return idx


def longest_match(ids, text_ids):
    """How many tokens of ids, at most, stand one after the other in text_ids too. Both (N,) or (1, N) token ids; an int."""
    text_ids = text_ids.flatten()
    run = longest = torch.zeros(len(text_ids) + 1, dtype=torch.int64)
    for token in ids.flatten():
        run = torch.where(text_ids == token, run[:-1] + 1, 0)      # (N,) the match that ends here
        run = torch.cat([run.new_zeros(1), run])
        longest = torch.maximum(longest, run)
    return longest.max().item()
