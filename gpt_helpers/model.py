"""GPT-2's architecture, small enough to read and fast enough to train on a laptop.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019;
Vaswani et al., "Attention Is All You Need", 2017 (attention); Xiong et al., "On Layer Normalization
in the Transformer Architecture", 2020 (norm before each branch).
Shapes: B sequences of T tokens, C = emb_dim, H = n_heads, V = vocab_size.
"""
from collections.abc import Mapping
from functools import cache
from numbers import Real

import torch
import torch.nn.functional as F
from torch import nn

from gpt_helpers.data import check_positive

GPT_CONFIG_124M = {
    "vocab_size": 50257,      # GPT-2's tokens
    "context_length": 1024,   # the most tokens the model sees at once
    "emb_dim": 768,           # numbers per token inside the model
    "n_heads": 12,
    "n_layers": 12,
    "drop_rate": 0.1,
    "qkv_bias": False,
}
GPT_CONFIG_TINY = GPT_CONFIG_124M | {"context_length": 64, "emb_dim": 128, "n_heads": 4, "n_layers": 2}


class GPTModel(nn.Module):
    """A decoder-only transformer. cfg: a dict with exactly the keys of GPT_CONFIG_124M; ValueError says what is wrong."""

    def __init__(self, cfg):
        super().__init__()
        check_config(cfg)
        self.cfg = dict(cfg)
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(*[TransformerBlock(cfg) for _ in range(cfg["n_layers"])])
        self.final_norm = nn.LayerNorm(cfg["emb_dim"])
        self.out_head = Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def forward(self, in_idx, last_only=False, cache=None):
        """in_idx: (B, T) token ids. Returns logits (B, T, V), or with last_only those of the last position, (B, 1, V).

        cache: `new_cache()`, in which every layer's keys and values stay; the next call then takes one new token, (B, 1).
        """
        cache = cache or [None] * len(self.trf_blocks)
        past = cache[0][0].shape[2] if cache[0] else 0          # tokens seen in earlier calls
        check_ids(in_idx, self.cfg, past)
        positions = torch.arange(past, past + in_idx.shape[1], device=in_idx.device)
        x = self.drop_emb(self.tok_emb(in_idx) + self.pos_emb(positions))      # (B, T, C) + (T, C)
        for block, kept in zip(self.trf_blocks, cache, strict=True):
            x = block(x, kept)
        if last_only:
            x = x[:, -1:]                                       # (B, 1, C)
        return self.out_head(self.final_norm(x))

    def new_cache(self):
        """An empty cache for `forward`: a list for each layer, for its keys and values, each (B, H, T, C/H)."""
        return [[] for _ in self.trf_blocks]


class TransformerBlock(nn.Module):
    """Two branches added to the stream: tokens look at each other, then each thinks for itself."""

    def __init__(self, cfg):
        super().__init__()
        self.norm1 = nn.LayerNorm(cfg["emb_dim"])
        self.att = CausalAttention(cfg)
        self.norm2 = nn.LayerNorm(cfg["emb_dim"])
        self.ff = FeedForward(cfg)
        self.drop = nn.Dropout(cfg["drop_rate"])

    def forward(self, x, kept=None):                            # (B, T, C)
        x = x + self.drop(self.att(self.norm1(x), kept))
        return x + self.drop(self.ff(self.norm2(x)))


class CausalAttention(nn.Module):
    """Multi-head self-attention in which no position sees a later one."""

    def __init__(self, cfg):
        super().__init__()
        self.n_heads, self.drop_rate = cfg["n_heads"], cfg["drop_rate"]
        self.qkv = Linear(cfg["emb_dim"], 3 * cfg["emb_dim"], bias=cfg["qkv_bias"])
        self.out_proj = Linear(cfg["emb_dim"], cfg["emb_dim"])

    def forward(self, x, kept=None):                            # (B, T, C)
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)      # each (B, H, T, C/H)
                   for part in self.qkv(x).chunk(3, dim=-1))
        if kept is not None:                                    # one token can look back without computing the past again
            kept[:] = [torch.cat(pair, dim=2) for pair in zip(kept, (k, v), strict=True)] if kept else [k, v]
            k, v = kept
        drop_rate = self.drop_rate if self.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, dropout_p=drop_rate, is_causal=q.shape[2] > 1)
        return self.out_proj(heads.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Four times wider, a GELU, and back."""

    def __init__(self, cfg):
        super().__init__()
        self.fc_in = Linear(cfg["emb_dim"], 4 * cfg["emb_dim"])
        self.fc_out = Linear(4 * cfg["emb_dim"], cfg["emb_dim"])

    def forward(self, x):                                       # (B, T, C)
        return self.fc_out(F.gelu(self.fc_in(x), approximate="tanh"))


class Linear(nn.Linear):
    """nn.Linear; while no gradients are asked for, with oneDNN's products where `onednn_is_faster`."""

    def forward(self, x):                                       # (…, inputs) to (…, outputs)
        plain = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or (x.device.type, x.dtype) != ("cpu", torch.float32)
        if plain or not onednn_is_faster():
            return super().forward(x)
        return F.linear(x.to_mkldnn(), self.weight, self.bias).to_dense()


@cache
def onednn_is_faster():
    """Whether MKL multiplies for PyTorch on another maker's processor than Intel's: oneDNN samples 1.5 times as fast there."""
    return torch.backends.mkl.is_available() and "Intel" not in torch.cpu.get_capabilities().get("cpu_name", "")


def check_config(cfg):
    """ValueError in one line when a model configuration has a missing, unknown, wrong-typed or impossible value."""
    if not isinstance(cfg, Mapping):
        raise ValueError(f"got a model configuration of type {type(cfg).__name__}, need a dict like GPT_CONFIG_124M")
    missing, unknown = GPT_CONFIG_124M.keys() - cfg.keys(), cfg.keys() - GPT_CONFIG_124M.keys()
    if missing or unknown:
        wrong = [f"missing {key!r}" for key in sorted(missing)] + [f"unknown {key!r}" for key in sorted(unknown, key=str)]
        raise ValueError(f"model configuration with {', '.join(wrong)}: need exactly {', '.join(GPT_CONFIG_124M)}")
    check_positive(**{key: cfg[key] for key in ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers")})
    if not isinstance(cfg["drop_rate"], Real) or isinstance(cfg["drop_rate"], bool) or not 0 <= cfg["drop_rate"] < 1:
        raise ValueError(f"model configuration with drop_rate={cfg['drop_rate']!r:.60}: need a number from 0 to below 1")
    if not isinstance(cfg["qkv_bias"], bool):
        raise ValueError(f"model configuration with qkv_bias={cfg['qkv_bias']!r:.60}: need True or False")
    if cfg["emb_dim"] % cfg["n_heads"]:
        raise ValueError(f"model configuration with emb_dim={cfg['emb_dim']} and n_heads={cfg['n_heads']}: "
                         "emb_dim must be a multiple of n_heads, so that every head gets the same width")


def check_ids(ids, cfg, past=0):
    """ValueError in one line when ids are not (B, T) token ids that this model can take after `past` others."""
    if ids.ndim != 2 or ids.numel() == 0 or ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"got {ids.dtype} ids of shape {tuple(ids.shape)}, need int64 of shape (batch, tokens) "
                         "with at least one token")
    if past and ids.shape[1] > 1:
        raise ValueError(f"got {ids.shape[1]:,} tokens with a cache of {past:,}, need the one that is new: ids[:, -1:]")
    if past + ids.shape[1] > cfg["context_length"]:
        raise ValueError(f"got {past + ids.shape[1]:,} tokens, the model takes at most context_length {cfg['context_length']:,}: "
                         "shorten the input or build the model with a longer context_length")
    if not ids.is_meta and not 0 <= ids.min() <= ids.max() < cfg["vocab_size"]:
        raise ValueError(f"got token ids from {ids.min()} to {ids.max()}, the vocabulary of this model has 0 to "
                         f"{cfg['vocab_size'] - 1}: use the tokenizer that the model was built for")
