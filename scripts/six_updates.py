"""Six updates on one process or several, for lesson 10: python scripts/six_updates.py WEIGHTS BATCH_SIZE ACCUMULATE

Saves the weights it ends with, and prints the bytes that the first process has sent in each update but the first.
"""
import sys

import torch
from torch.utils.data import DataLoader

from gpt_helpers.lessons.bigger import SMALL, new_model, windows
from gpt_helpers.lessons.cost import BytesSent
from gpt_helpers.lessons.healthy import LOG
from gpt_helpers.parallel import processes, rank, wrap
from gpt_helpers.train import train_model
from gpt_helpers.weights import save_weights

path, batch_size, accumulate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
train, val = (DataLoader(windows(10_000, seed), batch_size) for seed in (1, 2))
with processes("cpu") as device:
    model, count = wrap(new_model(SMALL, seed=1), "ddp"), BytesSent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train_model(model, train, val, optimizer, device, 1, 100, 1, "Nell", LOG.tokenizer, accumulate=accumulate, max_steps=6,
                callbacks=[count])
    if rank() == 0:
        save_weights(path, model)
        print(*count.sent)
