#!/usr/bin/env python3
"""Trains byte-level language models on Go's own source; made testdata/model.bin.

    python3 gocode.py train MODEL [--kind local] [--log CURVE.csv]    write a checkpoint (half precision)
    python3 gocode.py held-out FILE                                   write the text no model has seen
    python3 gocode.py eval MODEL FILE [--stride S] [--double]         print bits per byte as JSON

The data are the .go files under GOROOT/src, without testdata and vendor folders and without generated files (a line
"// Code generated ... DO NOT EDIT."); tests are in. A file is held out when the SHA-256 of its path below src, read as a
fraction, is under 0.05: about one in twenty, the same ones everywhere.
"""
import argparse
import hashlib
import json
import math
import pathlib
import re
import subprocess
import time

import torch
from torch.nn import functional as F

from aft import Block, LanguageModel

CONTEXT, DIM, LAYERS, WINDOW, RANK = 256, 128, 8, 32, 64
GENERATED = re.compile(rb"^// Code generated .* DO NOT EDIT\.$", re.MULTILINE)


# ---- data -----------------------------------------------------------------------------------------------------------

def source(root):
    """(training, held out): two texts as uint8 tensors, files in the order of their paths, each behind a newline."""
    texts = {False: bytearray(), True: bytearray()}
    files = {path.relative_to(root).as_posix(): path for path in pathlib.Path(root).rglob("*.go") if path.is_file()}
    for name, path in sorted(files.items()):
        text = path.read_bytes()
        if {"testdata", "vendor"} & set(name.split("/")) or GENERATED.search(text):
            continue
        fraction = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2 ** 32
        texts[fraction < 0.05] += b"\n" + text
    return tuple(torch.frombuffer(texts[held], dtype=torch.uint8) for held in (False, True))


def go_source():
    return subprocess.run(["go", "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip() + "/src"


# ---- models ---------------------------------------------------------------------------------------------------------

class Attention(Block):
    """The same block around causal softmax attention with heads of 32, to compare with."""

    def __init__(self, dim):
        super().__init__(dim, "simple", causal=True)

    def config(self):
        return {"variant": "attention"}

    def mix(self, q, k, v, grid):
        batch, length, dim = v.shape
        q, k, v = (a.view(batch, length, dim // 32, 32).transpose(1, 2) for a in (q, k, v))
        future = torch.ones(length, length, dtype=torch.bool, device=v.device).triu(1)
        scores = (q @ k.transpose(2, 3) / math.sqrt(32)).masked_fill(future, float("-inf"))
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, dim)


def build(kind):
    block = {
        "local": lambda: Block(DIM, "local", max_len=CONTEXT, window=WINDOW, rank=RANK, causal=True),
        "simple": lambda: Block(DIM, "simple", causal=True),
        "attention": lambda: Attention(DIM),
    }[kind]
    return LanguageModel([block() for _ in range(LAYERS)], tokens=256, context=CONTEXT)


def load(path):
    config = torch.load(path, map_location="cpu")["config"]
    return build(config["layers"][0]["variant"]).load(path)


# ---- training and evaluation ----------------------------------------------------------------------------------------

def costs(model, windows):
    """-log2 p of every byte but the first of each window: (windows, N+1) -> (windows, N)."""
    windows = windows.long()
    logits = model(windows[:, :-1])
    logits = logits.float() if logits.dtype != torch.float64 else logits
    return F.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none") / math.log(2)


@torch.no_grad()
def bits(model, text, stride=CONTEXT // 2):
    """-log2 p of every byte of a text but the first. A window starts every stride bytes; each scores what the ones before it
    have not, so that all bytes but the first of the text are guessed from at least CONTEXT - stride + 1 bytes."""
    full = text.unfold(0, CONTEXT + 1, stride) if len(text) > CONTEXT else text.new_empty(0, CONTEXT + 1)
    rows = [row for part in full.split(128) if len(part) for row in costs(model, part)]
    scored = rows[:1] + [row[-stride:] for row in rows[1:]]
    left = len(text) - 1 - sum(len(row) for row in scored)
    if left:
        scored.append(costs(model, text[None, len(full) * stride:])[0, -left:])
    return torch.cat(scored)


def train(arguments):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    training, held_out = (text.to(device) for text in source(arguments.root))
    torch.manual_seed(arguments.seed)
    model = build(arguments.kind).to(device)
    print("%s: %d parameters, %d bytes to train on, %d held out" % (
        arguments.kind, sum(p.numel() for p in model.parameters()), len(training), len(held_out)), flush=True)
    torch.set_float32_matmul_precision("high")
    run = torch.compile(model) if device == "cuda" else model
    optimiser = torch.optim.AdamW(model.parameters(), lr=arguments.rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, arguments.rate, total_steps=arguments.steps, pct_start=0.05, cycle_momentum=False)
    log, total, start = open(arguments.log, "w"), 0, time.time()
    print("step,training,held_out", file=log)
    for step in range(1, arguments.steps + 1):
        starts = torch.randint(len(training) - CONTEXT, (arguments.batch, 1), device=device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = costs(run, training[starts + torch.arange(CONTEXT + 1, device=device)]).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimiser.step()
        schedule.step()
        total += loss.detach()
        if step % arguments.every == 0:
            line = "%d,%.4f,%.4f" % (step, total / arguments.every, bits(model, held_out[:1 << 17], CONTEXT).mean())
            print(line, file=log, flush=True)
            print(arguments.kind, line, "%.0f s" % (time.time() - start), flush=True)
            if not math.isfinite(total):
                raise SystemExit("step %d: the loss is not a number" % step)
            total = 0
    model.save(arguments.model, half=True)


def evaluate(arguments):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = torch.frombuffer(bytearray(pathlib.Path(arguments.file).read_bytes()), dtype=torch.uint8).to(device)
    model = load(arguments.model).to(device, torch.float64 if arguments.double else torch.float32)
    cost = bits(model, text, arguments.stride)
    print(json.dumps({"bits_per_byte": cost.double().mean().item(), "bytes": len(text), "context": CONTEXT,
                      "stride": arguments.stride}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("train")
    verb.add_argument("model")
    verb.add_argument("--kind", default="local", choices=("local", "simple", "attention"))
    verb.add_argument("--root", help="the source, GOROOT/src if not given")
    verb.add_argument("--steps", type=int, default=20000)
    verb.add_argument("--batch", type=int, default=128)
    verb.add_argument("--rate", type=float, default=3e-3)
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--every", type=int, default=200, help="steps between lines of the log")
    verb.add_argument("--log", default="curve.csv")
    verb = verbs.add_parser("held-out")
    verb.add_argument("file")
    verb.add_argument("--root")
    verb = verbs.add_parser("eval")
    verb.add_argument("model")
    verb.add_argument("file")
    verb.add_argument("--stride", type=int, default=CONTEXT // 2)
    verb.add_argument("--double", action="store_true", help="compute in float64")
    arguments = parser.parse_args()
    if arguments.verb == "eval":
        return evaluate(arguments)
    arguments.root = arguments.root or go_source()
    if arguments.verb == "train":
        return train(arguments)
    pathlib.Path(arguments.file).write_bytes(source(arguments.root)[1].numpy().tobytes())


if __name__ == "__main__":
    main()
