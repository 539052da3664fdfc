#!/usr/bin/env python3
"""Writes testdata/golden: manifest.json, inputs and float64 answers of the operators (ops/), of layers (layers/) and
of whole networks (models/).

    python3 testdata/make_golden.py        (numpy, and PyTorch for the checkpoints)
"""
import json
import os
import shutil

import numpy as np

import make_layers
import make_networks
from aft import GATES, OPS, attend

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
EPS = 2.0 ** -23


class Cases:
    def __init__(self):
        self.list = []

    def add(self, case_id, op, note="", dtype=np.float32, **c):
        """One case: c holds the inputs by port name and the attributes; every number is rounded to dtype first."""
        make_bias, ports, attrs, equation = OPS[op]
        for name in "QKVW":
            if name in c:
                c[name] = np.asarray(c[name]).astype(dtype)
        y = attend(c["Q"], c["K"], c["V"], make_bias(c), c["causal"], c["gate"])
        assert np.isfinite(y).all(), case_id
        os.makedirs(os.path.join(HERE, "ops"), exist_ok=True)
        np.savez(os.path.join(HERE, "ops", case_id + ".npz"), **{p: c[p] for p in ports}, Y=y)
        source = "arXiv:2105.14103 " + equation + (", causal (footnote 2)" if c["causal"] else "")
        if c["gate"]:
            source += ", gate " + GATES[c["gate"]]
        self.list.append({
            "id": case_id, "op": op,
            "attrs": {"causal": [c["causal"]], "gate": [c["gate"]],
                      **{a: c[a] if isinstance(c[a], list) else [c[a]] for a in attrs}},
            "inputs": ports, "file": "ops/" + case_id + ".npz",
            "tolerance": tolerance(c, make_bias(c), dtype, y), "portable": portable(c, make_bias(c)),
            "source": source + ("; " + note if note else "")})


def tolerance(c, bias, dtype, y):
    """What an operator's result may differ by: m = max|V|, times max|Q| where Q multiplies ungated."""
    m = float(np.abs(c["V"][np.isfinite(c["V"])]).max())
    if c["gate"] == 2:
        m *= max(1.0, float(np.abs(c["Q"]).max()))
    if dtype == np.float64:
        return 1e-12 * m * max(1.0, largest_logit(c, bias) / 100)
    if dtype == np.float16:
        return 16 * EPS * m + float(np.abs(y).max()) * 2.0 ** -11
    return 16 * EPS * m


def biases(c, bias):
    t, s, heads = c["Q"].shape[1], c["K"].shape[1], c["K"].shape[2]
    all_heads = range(heads) if c["W"].ndim == 3 or "pad_left" in c else [0]
    return np.array([bias(h, i, j) for h in all_heads for i in range(t) for j in range(s)
                     if not c["causal"] or j <= i])


def largest_logit(c, bias):
    w = biases(c, bias) if "W" in c else np.zeros(1)
    return float(np.abs(c["K"][np.isfinite(c["K"])]).max() + np.abs(w[np.isfinite(w)]).max())


def portable(c, bias):
    """Function bodies owe the tolerance while the range of K plus the range of W stays within 80, else finite numbers."""
    w = biases(c, bias) if "W" in c else np.zeros(1)
    w = w[np.isfinite(w)]
    for k in c["K"].astype(np.float64):
        k = k[np.isfinite(k)]
        if len(k) and (k.max() - k.min()) + (w.max() - w.min()) > 80:
            return "finite"
    return "tolerance"


class Random:
    """Seeded inputs; one generator for everything, so a case must not move between others."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape, std=1.0):
        return self.rng.normal(0, std, shape)

    def qkv(self, b, t, d, s=None, heads=None, key_std=1.0):
        s = t if s is None else s
        return {"Q": self.normal(b, t, d), "K": self.normal(b, s, heads or d, std=key_std), "V": self.normal(b, s, d)}


def every_gate(cases, name, op, make):
    """make(batch, causal) gives the inputs; the gates other than sigmoid take one batch entry to stay small."""
    for causal in (0, 1):
        for kind, label in GATES.items():
            case_id = name + ("-causal" if causal else "") + ("" if kind == 0 else "-" + label)
            cases.add(case_id, op, causal=causal, gate=kind, **make(1 if kind else 2, causal))


def full_cases(cases, r):
    every_gate(cases, "full", "AFTFull", lambda b, _: {**r.qkv(b, 5, 4), "W": r.normal(5, 5)})
    cases.add("full-cross", "AFTFull", "S differs from T", causal=0, gate=0, **r.qkv(2, 4, 3, s=9), W=r.normal(4, 9))
    cases.add("full-wide-w", "AFTFull", "W larger than (T,S)", causal=0, gate=0, **r.qkv(2, 5, 3, s=4), W=r.normal(9, 7))
    cases.add("full-wide-w-causal", "AFTFull", "W larger than (T,T)", causal=1, gate=0, **r.qkv(2, 5, 3),
              W=r.normal(7, 8))
    cases.add("full-one", "AFTFull", "one position, one channel", causal=0, gate=0, **r.qkv(1, 1, 1), W=r.normal(1, 1))
    c = {**r.qkv(3, 6, 4), "W": r.normal(6, 6)}
    c["K"][0, 4:], c["K"][1, :2], c["K"][2, 3, 1] = -np.inf, -np.inf, -np.inf
    cases.add("full-mask-k", "AFTFull", "K = -inf removes a source position", causal=0, gate=0, **c)
    c = {**r.qkv(2, 6, 4), "W": r.normal(6, 6)}
    c["K"][0, 0] = -np.inf
    cases.add("full-mask-k-causal", "AFTFull", "the first row has nothing left: 0", causal=1, gate=2, **c)
    c = {**r.qkv(2, 6, 4), "W": r.normal(6, 6)}
    c["W"][0, 2:], c["W"][3, :], c["W"][5, 5] = -np.inf, -np.inf, -np.inf
    cases.add("full-mask-w", "AFTFull", "W = -inf removes a pair; row 3 has nothing left: 0", causal=0, gate=0, **c)
    c = {**r.qkv(2, 6, 4), "K": np.full((2, 6, 4), -np.inf), "W": r.normal(6, 6)}
    cases.add("full-mask-all", "AFTFull", "every key masked: 0", causal=0, gate=0, **c)
    for causal, suffix in ((0, ""), (1, "-causal")):
        cases.add("full-keys-std40" + suffix, "AFTFull", "exp(K) overflows float", causal=causal, gate=0,
                  **r.qkv(2, 12, 3, key_std=40), W=r.normal(12, 12))
        cases.add("full-both-std40" + suffix, "AFTFull", "needs a maximum of K + W a row", causal=causal, gate=0,
                  **r.qkv(2, 12, 3, key_std=40), W=r.normal(12, 12, std=40))
        cases.add("full-keys-1e4" + suffix, "AFTFull", "|K| up to 1e4", causal=causal, gate=0,
                  **uniform_keys(r, 2, 8, 3), W=r.normal(8, 8))
    c = {**r.qkv(2, 8, 3), "W": r.normal(8, 8)}
    c["K"][:, 7] = 3000
    cases.add("full-future-key", "AFTFull", "one huge key that only the last position sees", causal=1, gate=0, **c)
    c = {**r.qkv(2, 8, 3), "W": r.normal(8, 8) - 60 * np.eye(8)}
    cases.add("full-low-bias", "AFTFull", "a very negative bias on the diagonal", causal=0, gate=0, **c)
    cases.add("full-float64", "AFTFull", "float64", dtype=np.float64, causal=1, gate=0, **r.qkv(2, 6, 3),
              W=r.normal(8, 8))
    cases.add("full-float16", "AFTFull", "float16", dtype=np.float16, causal=0, gate=0, **r.qkv(2, 6, 3),
              W=r.normal(6, 6))


def uniform_keys(r, b, t, d, heads=None):
    return {**r.qkv(b, t, d), "K": r.rng.uniform(-1e4, 1e4, (b, t, heads or d))}


def simple_cases(cases, r):
    every_gate(cases, "simple", "AFTSimple", lambda b, _: r.qkv(b, 5, 4))
    cases.add("simple-cross", "AFTSimple", "S differs from T", causal=0, gate=0, **r.qkv(2, 4, 3, s=9))
    cases.add("simple-long-causal", "AFTSimple", "a long running sum", causal=1, gate=0, **r.qkv(1, 128, 1))
    c = r.qkv(2, 6, 4)
    c["K"][0, 3:], c["K"][1, :3] = -np.inf, -np.inf
    cases.add("simple-mask", "AFTSimple", "K = -inf removes a source position", causal=0, gate=0, **c)
    cases.add("simple-mask-causal", "AFTSimple", "rows with nothing left are 0", causal=1, gate=0, **c)
    for causal, suffix in ((0, ""), (1, "-causal")):
        cases.add("simple-keys-std40" + suffix, "AFTSimple", "exp(K) overflows float", causal=causal, gate=0,
                  **r.qkv(2, 12, 3, key_std=40))
        cases.add("simple-keys-1e4" + suffix, "AFTSimple", "|K| up to 1e4", causal=causal, gate=0,
                  **uniform_keys(r, 2, 8, 3))
    c = r.qkv(2, 8, 3)
    c["K"][:, 7] = 3000
    cases.add("simple-future-key", "AFTSimple", "one huge key that only the last position sees", causal=1, gate=0, **c)
    cases.add("simple-float64", "AFTSimple", "float64", dtype=np.float64, causal=1, gate=0, **r.qkv(2, 6, 3))


def band(r, t, window, causal):
    return r.normal(t, window if causal else 2 * window - 1)


def local_cases(cases, r):
    every_gate(cases, "local", "AFTLocal", lambda b, causal: {
        **r.qkv(b, 6, 4), "W": band(r, 6, 3, causal), "window": 3})
    for causal, suffix in ((0, ""), (1, "-causal")):
        for label, window, note in (("s1", 1, "the bias reaches the position itself only"), ("sT", 5, "s = T"),
                                    ("s-over-T", 9, "s > T: entries outside the sequence are ignored")):
            cases.add("local-" + label + suffix, "AFTLocal", note, causal=causal, gate=0, window=window,
                      **r.qkv(2, 5, 3), W=band(r, 5, window, causal))
        cases.add("local-wide-w" + suffix, "AFTLocal", "more rows than positions", causal=causal, gate=0, window=2,
                  **r.qkv(2, 5, 3), W=band(r, 8, 2, causal))
        cases.add("local-keys-std40" + suffix, "AFTLocal", "exp(K) overflows float", causal=causal, gate=0, window=4,
                  **r.qkv(2, 12, 3, key_std=40), W=band(r, 12, 4, causal))
        cases.add("local-low-bias" + suffix, "AFTLocal",
                  "every bias in the window is about -60: exp(w)-1 forms lose the window", causal=causal, gate=0,
                  window=3, **r.qkv(2, 9, 3), W=band(r, 9, 3, causal) - 60)
    c = {**r.qkv(2, 7, 3), "W": band(r, 7, 3, 0), "window": 3}
    c["W"][0, :2], c["W"][6, 3:] = np.nan, np.inf
    cases.add("local-outside", "AFTLocal", "NaN and Inf in the entries that point outside the sequence", causal=0,
              gate=0, **c)
    c = {**r.qkv(2, 7, 3), "W": band(r, 7, 3, 0), "window": 3}
    c["K"][0, 5:], c["W"][2, 1], c["W"][4, :] = -np.inf, -np.inf, -np.inf
    cases.add("local-mask", "AFTLocal", "K = -inf and W = -inf inside the band", causal=0, gate=0, **c)
    cases.add("local-keys-1e4-causal", "AFTLocal", "|K| up to 1e4", causal=1, gate=0, window=3,
              **uniform_keys(r, 2, 8, 3), W=band(r, 8, 3, 1))
    cases.add("local-float64", "AFTLocal", "float64", dtype=np.float64, causal=1, gate=0, window=2,
              **r.qkv(2, 6, 3), W=band(r, 6, 2, 1))


def conv1d_cases(cases, r):
    def one(case_id, note="", taps=3, pad=1, heads=2, causal=0, b=2, t=7, d=4, key_std=1.0, shift=0.0):
        cases.add(case_id, "AFTConv1D", note, causal=causal, gate=0, pad_left=pad,
                  **r.qkv(b, t, d, heads=heads, key_std=key_std), W=r.normal(heads, taps) + shift)

    every_gate(cases, "conv1d", "AFTConv1D", lambda b, causal: {
        **r.qkv(b, 6, 4, heads=2), "W": r.normal(2, 3), "pad_left": 2 if causal else 1})
    one("conv1d-one-head", "one head for all channels", heads=1)
    one("conv1d-head-a-channel", "as many heads as channels", heads=4)
    one("conv1d-s1", "one tap", taps=1, pad=0)
    one("conv1d-even", "an even kernel", taps=4, pad=1)
    one("conv1d-even-causal", "an even kernel", taps=4, pad=3, causal=1)
    one("conv1d-s-over-T", "more taps than positions", taps=9, pad=4, t=4)
    one("conv1d-s-over-T-causal", "more taps than positions", taps=9, pad=8, t=4, causal=1)
    one("conv1d-pad0", "taps to the right only", taps=3, pad=0)
    one("conv1d-pad-full", "taps to the left only, every source summed", taps=3, pad=2)
    one("conv1d-pad0-causal", "causal drops the taps after the position", taps=3, pad=0, causal=1)
    one("conv1d-keys-std40", "exp(K) overflows float", t=12, key_std=40)
    one("conv1d-keys-std40-causal", "exp(K) overflows float", t=12, key_std=40, pad=2, causal=1)
    one("conv1d-low-bias", "every tap is about -60: exp(w)-1 forms lose the window", t=9, shift=-60.0)
    cases.add("conv1d-keys-1e4-causal", "AFTConv1D", "|K| up to 1e4", causal=1, gate=0, pad_left=2,
              **uniform_keys(r, 2, 8, 4, heads=2), W=r.normal(2, 3))
    c = {**r.qkv(2, 7, 4, heads=2), "W": r.normal(2, 3), "pad_left": 1}
    c["K"][0, :3], c["K"][1, 2, 0], c["W"][1, 0] = -np.inf, -np.inf, -np.inf
    cases.add("conv1d-mask", "AFTConv1D", "K = -inf and W = -inf", causal=0, gate=0, **c)
    cases.add("conv1d-float64", "AFTConv1D", "float64", dtype=np.float64, causal=1, gate=0, pad_left=2,
              **r.qkv(2, 6, 4, heads=2), W=r.normal(2, 3))


def conv2d_cases(cases, r):
    def one(case_id, note="", grid=(3, 4), kernel=(3, 3), pads=(1, 1), heads=2, causal=0, b=2, d=4, key_std=1.0,
            shift=0.0):
        cases.add(case_id, "AFTConv2D", note, causal=causal, gate=0, pads=list(pads), grid=np.array(grid, np.int64),
                  **r.qkv(b, grid[0] * grid[1], d, heads=heads, key_std=key_std), W=r.normal(heads, *kernel) + shift)

    every_gate(cases, "conv2d", "AFTConv2D", lambda b, _: {
        **r.qkv(b, 6, 4, heads=2), "W": r.normal(2, 3, 3), "pads": [1, 1], "grid": np.array([2, 3], np.int64)})
    one("conv2d-wide", "a wide grid, one head a channel pair", grid=(2, 7), heads=3, d=6, b=1)
    one("conv2d-tall", "one column", grid=(7, 1))
    one("conv2d-over-grid", "a kernel larger than the grid", grid=(3, 2), kernel=(5, 5), pads=(2, 2))
    one("conv2d-oblong", "a kernel of 1 x 3", kernel=(1, 3), pads=(0, 1))
    one("conv2d-even", "an even kernel", kernel=(2, 4), pads=(1, 2))
    one("conv2d-pads-corner", "the position at the kernel's first tap", pads=(0, 0))
    one("conv2d-pads-odd", "pads that are not central", kernel=(3, 4), pads=(2, 0))
    one("conv2d-pads-causal", "causal drops the taps after the position, whatever the pads", pads=(0, 1), causal=1)
    one("conv2d-one-tap", "a kernel of 1 x 1", kernel=(1, 1), pads=(0, 0))
    one("conv2d-keys-std40", "exp(K) overflows float", key_std=40)
    one("conv2d-keys-std40-causal", "exp(K) overflows float", key_std=40, causal=1)
    one("conv2d-low-bias", "every tap is about -60: exp(w)-1 forms lose the window", shift=-60.0)
    c = {**r.qkv(2, 6, 4, heads=2), "W": r.normal(2, 3, 3), "pads": [1, 1], "grid": np.array([3, 2], np.int64)}
    c["K"][0, 4:], c["K"][1, 1, 1] = -np.inf, -np.inf
    cases.add("conv2d-mask", "AFTConv2D", "K = -inf removes a source position", causal=0, gate=0, **c)
    cases.add("conv2d-float64", "AFTConv2D", "float64", dtype=np.float64, causal=0, gate=0, pads=[1, 1],
              **r.qkv(1, 6, 4, heads=2), W=r.normal(2, 3, 3), grid=np.array([2, 3], np.int64))


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    cases, r = Cases(), Random(20210514)
    for make in (full_cases, simple_cases, local_cases, conv1d_cases, conv2d_cases):
        make(cases, r)
    layers, models = make_layers.write(HERE), make_networks.write(HERE)
    with open(os.path.join(HERE, "manifest.json"), "w") as f:
        rows = [",\n  ".join(json.dumps(c) for c in part) for part in (cases.list, layers, models)]
        f.write('{"cases": [\n  %s\n ],\n "layers": [\n  %s\n ],\n "models": [\n  %s\n ]}\n' % tuple(rows))
    print(len(cases.list), "operator cases,", len(layers), "layer cases,", len(models), "models")


if __name__ == "__main__":
    main()
