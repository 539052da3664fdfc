#!/usr/bin/env python3
"""Writes what PyTorch makes of testdata/model.bin: eval.json, model_x.npy and model_y64.npy beside it.

    python3 testdata/make_models.py

The weights are those stored, in half precision; sums are in float32 where a name does not say 64.
"""
import json
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples" / "train"))  # its aft.py, not the one here

import gocode  # noqa: E402

PROMPT = b"func (l *Layer) Forward(x []float64) error {\n\tfor t := range x {\n"


def main():
    text = torch.frombuffer(bytearray((HERE / "eval.txt").read_bytes()), dtype=torch.uint8)
    model = gocode.load(HERE / "model.bin")
    stride = gocode.CONTEXT // 2
    single = gocode.bits(model, text, stride)
    double = gocode.bits(model.double(), text, stride)
    places = (1, 2, 33, 255, 256, 257, 384, 385, 10000, len(text) - 1)
    answer = {
        "model": "model.bin", "text": "eval.txt", "bytes": len(text), "context": gocode.CONTEXT, "stride": stride,
        "bits_per_byte": single.double().mean().item(), "bits_per_byte_64": double.mean().item(),
        "log2_p": {str(at): -double[at - 1].item() for at in places},  # of the byte at this offset
    }
    (HERE / "eval.json").write_text(json.dumps(answer, indent=1) + "\n")
    ids = torch.tensor([list(PROMPT[:64])])
    with torch.no_grad():
        np.save(HERE / "model_y64.npy", model(ids).numpy())
    np.save(HERE / "model_x.npy", ids.numpy())
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
