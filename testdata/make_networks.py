"""Whole networks under our own tensor names, with seeded weights, and what they compute.

The answers come from aft.py, loop by loop: h = x + out(AFT(norm1(x))), y = h + fc2(gelu(fc1(norm2(h)))), then
head(norm(y)), for images of the class token or of the mean over positions. Called by make_golden.py; PyTorch is needed to
write the checkpoints.
"""
import math
import os
from collections import OrderedDict

import numpy as np
import torch

import aft
from make_layers import EPS, none, normalised, pairs, taps2d, window

LAYER_NORM_EPS = float(np.float32(1e-5))  # as ONNX holds the default


class Network:
    """A checkpoint in the making: tensors by name, and the config beside them."""

    def __init__(self, rng, dim, **config):
        self.rng, self.dim, self.tensors = rng, dim, OrderedDict()
        self.config = {**config, "layers": []}
        self.eps = float(np.float32(config["eps"])) if "eps" in config else LAYER_NORM_EPS

    def add(self, name, *shape, std=0.6, mean=0.0):
        self.tensors[name] = (mean + self.rng.normal(0, std, shape)).astype(np.float32)

    def linear(self, name, out, into):
        self.add(name + ".weight", out, into)
        self.add(name + ".bias", out)

    def norm(self, name):
        self.add(name + ".weight", self.dim, std=0.3, mean=1.0)
        self.add(name + ".bias", self.dim, std=0.3)

    def block(self, hidden, biases, keys=None, mlp=True, **config):
        """biases: the shapes of the position biases by name."""
        at = "layers.%d." % len(self.config["layers"])
        self.config["layers"].append(config)
        self.norm(at + "norm1")
        for role, out, into in (("q", hidden, self.dim), ("k", keys or hidden, self.dim), ("v", hidden, self.dim),
                                ("out", self.dim, hidden)):
            self.linear(at + role, out, into)
        for name, shape in biases.items():
            self.add(at + name, *shape)
        if mlp:
            self.norm(at + "norm2")
            self.linear(at + "fc1", 4 * self.dim, self.dim)
            self.linear(at + "fc2", self.dim, 4 * self.dim)

    def bias(self, n, width):
        """The position bias of block n, as aft.attend takes it."""
        at, c, t = "layers.%d." % n, self.config["layers"][n], self.tensors
        if c["variant"] == "simple":
            return none
        if c["variant"] == "conv":
            w = normalised(t[at + "w"], t[at + "gamma"], t[at + "beta"], 0)
            return taps2d(w, (w.shape[1] // 2, w.shape[2] // 2), width)
        if at + "w" in t:
            w = t[at + "w"]
        else:
            w = np.array([[aft.dot(u, v) for v in t[at + "v_t"]] for u in t[at + "u"]])
        return pairs(w) if c["variant"] == "full" else window(w, c["window"])

    def blocks(self, math_of, x, width=None):
        """x through all blocks and the last norm, with the arithmetic of math_of."""
        t = self.tensors
        part = lambda name: (t[name + ".weight"], t[name + ".bias"])
        for n, c in enumerate(self.config["layers"]):
            at = "layers.%d." % n
            h = math_of.layer_norm(x, *part(at + "norm1"), self.eps)
            q, k, v = (math_of.linear(h, *part(at + role)) for role in "qkv")
            y = math_of.attend(q, k, v, self.bias(n, width), c["causal"], 0)
            x = x + math_of.linear(y, *part(at + "out"))
            if at + "fc1.weight" in t:
                h = math_of.linear(math_of.layer_norm(x, *part(at + "norm2"), self.eps), *part(at + "fc1"))
                x = x + math_of.linear(math_of.gelu(h), *part(at + "fc2"))
        return math_of.layer_norm(x, *part("norm"), self.eps)

    def language(self, math_of, tokens):
        t = self.tensors
        x = t["embed.weight"][tokens].astype(math_of.dtype)
        if "positions.weight" in t:
            x = x + t["positions.weight"][:tokens.shape[1]]
        return math_of.linear(self.blocks(math_of, x), t.get("head.weight", t["embed.weight"]), t.get("head.bias"))

    def image(self, math_of, pixels):
        t = self.tensors
        x = math_of.patches(pixels.astype(math_of.dtype), t["patch.weight"], t["patch.bias"])
        if "class_token" in t:
            x = np.concatenate([np.tile(t["class_token"], (len(x), 1, 1)).astype(math_of.dtype), x], axis=1)
        if "positions.weight" in t:
            x = x + t["positions.weight"]
        y = self.blocks(math_of, x, pixels.shape[3] // t["patch.weight"].shape[2])
        y = y[:, 0] if "class_token" in t else math_of.mean(y)
        return math_of.linear(y, t["head.weight"], t["head.bias"])


class Double:
    """The answers: plain loops in float64, every sum by math.fsum."""
    dtype = np.float64
    attend, linear, layer_norm = staticmethod(aft.attend), staticmethod(aft.linear), staticmethod(aft.layer_norm)
    gelu, patches = staticmethod(aft.gelu), staticmethod(aft.patches)

    @staticmethod
    def mean(x):
        return np.array([[math.fsum(column) / len(column) for column in entry.T] for entry in x])


class Single:
    """The same in float: how far honest float arithmetic lands from the answer."""
    dtype = np.float32

    @staticmethod
    def linear(x, weight, bias=None):
        return x @ weight.T if bias is None else x @ weight.T + bias

    @staticmethod
    def layer_norm(x, gain, bias, eps):
        d = x - x.mean(axis=-1, keepdims=True)
        return gain * d / np.sqrt((d * d).mean(axis=-1, keepdims=True) + np.float32(eps)) + bias

    @staticmethod
    def gelu(x):
        return x * np.vectorize(lambda v: np.float32(0.5 * math.erfc(-v / math.sqrt(2))), otypes=[np.float32])(x)

    @staticmethod
    def attend(q, k, v, bias, causal, _):
        heads, t = k.shape[2], k.shape[1]
        w = np.array([[[bias(h, i, j) if not causal or j <= i else -np.inf for h in range(heads)] for j in range(t)]
                      for i in range(t)], np.float32)
        logits = np.repeat(k[:, None] + w[None], v.shape[2] // heads, axis=3)
        e = np.exp(logits - logits.max(axis=2, keepdims=True))
        return (e * v[:, None]).sum(axis=2) / e.sum(axis=2) / (1 + np.exp(-q))

    @staticmethod
    def patches(pixels, weight, bias):
        b, c, height, width = pixels.shape
        p = weight.shape[2]
        cut = pixels.reshape(b, c, height // p, p, width // p, p).transpose(0, 2, 4, 1, 3, 5)
        return cut.reshape(b, -1, c * p * p) @ weight.reshape(len(weight), -1).T + bias

    @staticmethod
    def mean(x):
        return x.mean(axis=1)


class Models:
    def __init__(self, root):
        self.root, self.list, self.rng = root, [], np.random.default_rng(20210529)

    def save(self, case_id, network, compute, x, tie=False, note=""):
        stem = "models/" + case_id
        y, y32 = compute(Double, x), compute(Single, x)
        assert y32.dtype == np.float32 and np.isfinite(y).all(), case_id
        state = OrderedDict((name, torch.from_numpy(a)) for name, a in network.tensors.items())
        if tie:
            state["head.weight"] = state["embed.weight"]  # one storage
        torch.save({"config": network.config, "state_dict": state}, os.path.join(self.root, stem + ".pt"))
        np.save(os.path.join(self.root, stem + ".x.npy"), x)
        np.save(os.path.join(self.root, stem + ".y64.npy"), y)
        off = max(float(np.abs(y32 - y).max()), EPS * float(np.abs(y).max()))
        takes = "input_ids" if x.dtype == np.int64 else "pixel_values"
        self.list.append({"id": case_id, "checkpoint": stem + ".pt", "input": takes, "x": stem + ".x.npy",
                          "y64": stem + ".y64.npy", "tolerance": 16 * off, "note": note})


def lm_local(c):
    n = Network(c.rng, 6)
    n.add("embed.weight", 11, 6)
    n.add("positions.weight", 9, 6)
    n.block(8, {"w": (9, 9)}, variant="local", causal=True, window=3)
    n.block(6, {}, variant="simple", causal=True)
    n.norm("norm")
    tokens = c.rng.integers(0, 11, (2, 7))
    c.save("lm-local", n, n.language, tokens, note="AFT-local and AFT-simple, causal; tied: there is no head.weight")


def lm_simple(c):
    n = Network(c.rng, 6, eps=1e-3)
    n.add("embed.weight", 11, 6)
    n.block(4, {}, mlp=False, variant="simple", causal=True)
    n.norm("norm")
    n.add("head.bias", 11)
    tokens = c.rng.integers(0, 11, (2, 12))
    c.save("lm-simple", n, n.language, tokens, tie=True,
           note="no positions, no MLP; head.weight shares its storage with embed.weight")


def image(c, case_id, n, note):
    n.norm("norm")
    n.linear("head", 3, n.dim)
    c.save(case_id, n, n.image, c.rng.normal(0, 1, (2, 2, 4, 6)).astype(np.float32), note=note)


PIXELS = {"image_size": [4, 6], "mean": [0.5, 0.25], "std": [0.25, 0.5], "labels": "cat\ndog\nboat"}


def image_full(c):
    n = Network(c.rng, 6, **PIXELS)
    n.add("patch.weight", 6, 2, 2, 2, std=0.3)
    n.add("patch.bias", 6)
    n.add("class_token", 6)
    n.add("positions.weight", 7, 6)
    n.block(6, {"w": (7, 7)}, variant="full", causal=False)
    n.block(8, {"u": (7, 4), "v_t": (7, 4)}, variant="full", causal=False)
    image(c, "image-full", n, "AFT-full, the second with factors; pooled to the class token")


def image_conv(c):
    n = Network(c.rng, 6, eps=1e-6, **PIXELS)
    n.add("patch.weight", 6, 2, 2, 2, std=0.3)
    n.add("patch.bias", 6)
    for kernel in ((3, 3), (1, 2)):
        n.block(8, {"w": (4, *kernel), "gamma": (4,), "beta": (4,)}, keys=4, variant="conv", causal=False, heads=4)
    image(c, "image-conv", n, "AFT-conv on the grid of patches; pooled to the mean over positions")


def write(root):
    os.makedirs(os.path.join(root, "models"), exist_ok=True)
    c = Models(root)
    for make in (lm_local, lm_simple, image_full, image_conv):
        make(c)
    return c.list
