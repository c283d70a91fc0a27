"""GPT-2's architecture, small enough to read and fast enough to train on a laptop.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019;
Vaswani et al., "Attention Is All You Need", 2017 (attention); Xiong et al., "On Layer Normalization
in the Transformer Architecture", 2020 (norm before each branch).
Shapes: B sequences of T tokens, C = emb_dim, H = n_heads, V = vocab_size.
"""
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gpt_helpers.linear import Linear
from gpt_helpers.validate import require_config, require_ids, require_model

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

    def __init__(self, cfg: Mapping[str, Any]):
        super().__init__()
        require_config(cfg, GPT_CONFIG_124M)
        self.cfg = {key: value.item() if hasattr(value, "item") else value for key, value in cfg.items()}      # NumPy to plain
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(*[TransformerBlock(cfg) for _ in range(cfg["n_layers"])])
        self.final_norm = nn.LayerNorm(cfg["emb_dim"])
        self.out_head = Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def forward(self, in_idx: torch.Tensor, last_only: bool = False, kv_cache: list | None = None) -> torch.Tensor:
        """in_idx: (B, T) token ids. Returns logits (B, T, V), or with last_only those of the last position, (B, 1, V).

        kv_cache: `new_kv_cache()`, which keeps every layer's keys and values; the next call then takes one new token, (B, 1).
        """
        kv_cache = kv_cache or [None] * len(self.trf_blocks)
        past = kv_cache[0][0].shape[2] if kv_cache[0] else 0    # tokens seen in earlier calls
        require_ids(in_idx, self.cfg, past)
        positions = torch.arange(past, past + in_idx.shape[1], device=in_idx.device)
        x = self.drop_emb(self.tok_emb(in_idx) + self.pos_emb(positions))      # (B, T, C) + (T, C)
        for block, layer_cache in zip(self.trf_blocks, kv_cache, strict=True):
            x = block(x, layer_cache)
        if last_only:
            x = x[:, -1:]                                       # (B, 1, C)
        return self.out_head(self.final_norm(x))

    def new_kv_cache(self) -> list[list]:
        """An empty KV cache for `forward`: one list per layer, for its keys and values, each (B, H, T, C/H)."""
        return [[] for _ in self.trf_blocks]


class TransformerBlock(nn.Module):
    """Two branches added to the residual stream: attention, where tokens see each other, and a feed-forward layer per token."""

    def __init__(self, cfg: Mapping[str, Any]):
        super().__init__()
        self.norm1 = nn.LayerNorm(cfg["emb_dim"])
        self.att = CausalAttention(cfg)
        self.norm2 = nn.LayerNorm(cfg["emb_dim"])
        self.ff = FeedForward(cfg)
        self.drop = nn.Dropout(cfg["drop_rate"])

    def forward(self, x: torch.Tensor, layer_cache: list | None = None) -> torch.Tensor:      # (B, T, C)
        x = x + self.drop(self.att(self.norm1(x), layer_cache))
        return x + self.drop(self.ff(self.norm2(x)))


class CausalAttention(nn.Module):
    """Multi-head self-attention in which no position sees a later one."""

    def __init__(self, cfg: Mapping[str, Any]):
        super().__init__()
        self.n_heads, self.drop_rate = cfg["n_heads"], cfg["drop_rate"]
        self.qkv = Linear(cfg["emb_dim"], 3 * cfg["emb_dim"], bias=cfg["qkv_bias"])
        self.out_proj = Linear(cfg["emb_dim"], cfg["emb_dim"])

    def forward(self, x: torch.Tensor, layer_cache: list | None = None) -> torch.Tensor:      # (B, T, C)
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)      # each (B, H, T, C/H)
                   for part in self.qkv(x).chunk(3, dim=-1))
        if layer_cache is not None:                             # keys and values of the past are not computed again
            new = (k, v)
            layer_cache[:] = [torch.cat(pair, dim=2) for pair in zip(layer_cache, new, strict=True)] if layer_cache else new
            k, v = layer_cache
        drop_rate = self.drop_rate if self.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, dropout_p=drop_rate, is_causal=q.shape[2] > 1)
        return self.out_proj(heads.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Four times wider, a GELU, and back."""

    def __init__(self, cfg: Mapping[str, Any]):
        super().__init__()
        self.fc_in = Linear(cfg["emb_dim"], 4 * cfg["emb_dim"])
        self.fc_out = Linear(4 * cfg["emb_dim"], cfg["emb_dim"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:         # (B, T, C)
        return self.fc_out(F.gelu(self.fc_in(x), approximate="tanh"))


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile`, DataParallel, DistributedDataParallel and AveragedModel, however they are nested.

    Raises ValueError when it is no model.
    """
    require_model(model)
    while True:
        if "_orig_mod" in model._modules:                       # torch.compile's wrapper
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel | torch.optim.swa_utils.AveragedModel):
            model = model.module
        else:
            return model


def plain_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of the model inside every wrapper, under the names it has when nothing is compiled."""
    return {name.replace("_orig_mod.", ""): weight for name, weight in unwrap(model).state_dict().items()}
