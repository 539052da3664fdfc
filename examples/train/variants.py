#!/usr/bin/env python3
"""Saves one small layer of each variant with seeded random weights; made the other checkpoints of testdata.

    python3 examples/train/variants.py FOLDER
"""
import os
import sys

import torch

from aft import AFT, Stack

LAYERS = {
    "simple.bin": dict(dim=6, variant="simple", hidden=8),
    "full.bin": dict(dim=6, variant="full", hidden=8, max_len=12, causal=True),
    "local.bin": dict(dim=6, variant="local", hidden=8, max_len=12, rank=4, window=3),
    "conv1d.bin": dict(dim=6, variant="conv", hidden=8, heads=4, kernel=5),
    "conv2d.bin": dict(dim=6, variant="conv", hidden=8, heads=4, kernel=(3, 3)),
}


def main(folder):
    torch.manual_seed(0)
    for name, arguments in LAYERS.items():
        layer = AFT(**arguments)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.6)
        Stack([layer]).save(os.path.join(folder, name))


if __name__ == "__main__":
    main(sys.argv[1])
