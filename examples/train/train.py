#!/usr/bin/env python3
"""Trains a small stack of AFT layers to remove noise and saves it; made testdata/stack.bin.

    python3 examples/train/train.py model.bin [steps]
    aftonnx export model.bin

The task: sixteen noisy channels are mixtures of four slow waves; from what has been seen up to now, give the channels without
the noise. The scores to beat are leaving the channels as they are and a running average of each.
"""
import sys

import torch

from aft import AFT, Stack

CHANNELS, WAVES, LENGTH, NOISE = 16, 4, 32, 0.5
MIXTURE = torch.randn(WAVES, CHANNELS, generator=torch.Generator().manual_seed(7)) / 2


def batch(generator, size=32):
    """(noisy, clean), each (size, LENGTH, CHANNELS)."""
    cycles = 0.1 + 0.9 * torch.rand((size, 1, WAVES), generator=generator)
    phase = torch.rand((size, 1, WAVES), generator=generator)
    time = torch.arange(LENGTH).view(1, -1, 1) / LENGTH
    clean = torch.sin(2 * torch.pi * (cycles * time + phase)) @ MIXTURE
    return clean + NOISE * torch.randn(clean.shape, generator=generator), clean


def running_average(x, keep=0.6):
    y = x.clone()
    for t in range(1, x.shape[1]):
        y[:, t] = keep * y[:, t - 1] + (1 - keep) * x[:, t]
    return y


def main(path, steps=500):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = Stack([
        AFT(CHANNELS, "conv", hidden=32, heads=8, kernel=5, causal=True),
        AFT(CHANNELS, "local", hidden=32, max_len=64, window=8, causal=True),
        AFT(CHANNELS, "full", hidden=32, max_len=64, rank=8, causal=True),
    ])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        noisy, clean = batch(generator)
        loss = (model(noisy) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            as_is, average = (noisy - clean).square().mean(), (running_average(noisy) - clean).square().mean()
            print("step %3d  loss %.4f  as it is %.4f  running average %.4f" % (step, loss, as_is, average), flush=True)
    model.save(path)


if __name__ == "__main__":
    main(sys.argv[1], *(int(a) for a in sys.argv[2:3]))
