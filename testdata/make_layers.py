"""Layer checkpoints under the tensor names of six public implementations, with seeded weights, and what they compute.

Only the names and the rules are theirs (which window, which standard deviation, causal or not); no code is. The answers come
from aft.py. Called by make_golden.py; PyTorch is needed to write the checkpoints.
"""
import math
import os
from collections import OrderedDict

import numpy as np
import torch

from aft import attend

EPS = 2.0 ** -23
ROOT = os.path.dirname(os.path.abspath(__file__))


# ---- what a layer computes ------------------------------------------------------------------------------------------

def linear(x, weight, bias):
    y = x @ np.asarray(weight, np.float64).T
    return y if bias is None else y + np.asarray(bias, np.float64)


def layer(x, p, bias, causal, gate=0):
    """p: {"q": (weight, bias), "k": ..., "v": ..., "out": ... or None}; bias as in aft.attend."""
    q, k, v = (linear(x, *p[name]) for name in "qkv")
    y = attend(q, k, v, bias, causal, gate)
    return linear(y, *p["out"]) if p["out"] else y


def layer32(x, p, bias, causal):
    """The same in float, with a maximum a row: how far honest float arithmetic lands from the answer."""
    def proj(a, wb):
        return a @ wb[0].T.astype(np.float32) + (0 if wb[1] is None else wb[1].astype(np.float32))
    x = x.astype(np.float32)
    q, k, v = (proj(x, p[name]) for name in "qkv")
    heads, t = k.shape[2], x.shape[1]
    w = np.array([[[bias(h, i, j) if not causal or j <= i else -np.inf for h in range(heads)] for j in range(t)]
                  for i in range(t)], np.float32)
    logits = np.repeat(k[:, None] + w[None], v.shape[2] // heads, axis=3)
    e = np.exp(logits - logits.max(axis=2, keepdims=True))
    y = (e * v[:, None]).sum(axis=2) / e.sum(axis=2) / (1 + np.exp(-q))
    return proj(y, p["out"]) if p["out"] else y


def tolerance(y32, y):
    """Sixteen times what float arithmetic costs here."""
    return 16 * max(float(np.abs(y32 - y).max()), EPS * float(np.abs(y).max()))


def pairs(w):
    return lambda head, t, s: float(w[t, s])


def window(w, size):
    return lambda head, t, s: float(w[t, s]) if abs(t - s) < size else 0.0


def none(head, t, s):
    return 0.0


def normalised(w, gamma, beta, ddof, limit=None):
    """eq. 8 a head: w := gamma (w - mean) / (std + 1e-6) + beta, then limit * tanh(w / limit) where there is a limit."""
    out = np.empty(w.shape, np.float64)
    for h in range(len(w)):
        flat = [float(a) for a in w[h].ravel()]
        mean = math.fsum(flat) / len(flat)
        std = math.sqrt(math.fsum((a - mean) ** 2 for a in flat) / (len(flat) - ddof))
        out[h] = float(gamma[h]) * (np.asarray(w[h], np.float64) - mean) / (std + 1e-6) + float(beta[h])
    return out if limit is None else limit * np.tanh(out / limit)


def taps(w, pad):
    return lambda head, t, s: float(w[head, s - t + pad]) if 0 <= s - t + pad < w.shape[1] else 0.0


def taps2d(w, pads, width):
    def bias(head, t, s):
        a, b = s // width - t // width + pads[0], s % width - t % width + pads[1]
        return float(w[head, a, b]) if 0 <= a < w.shape[1] and 0 <= b < w.shape[2] else 0.0
    return bias


# ---- writing --------------------------------------------------------------------------------------------------------

class Layers:
    def __init__(self, root):
        self.root, self.list, self.rng = root, [], np.random.default_rng(20210528)

    def normal(self, *shape, std=0.6):
        return self.rng.normal(0, std, shape).astype(np.float32)

    def projections(self, dim, hidden, keys=None, bias=True, out=True):
        """Weights by role: q, k, v and out, each (weight, bias or None)."""
        p = {"q": (hidden, dim), "k": (keys or hidden, dim), "v": (hidden, dim), "out": (dim, hidden)}
        p = {role: (self.normal(*shape), self.normal(shape[0]) if bias or role == "out" else None)
             for role, shape in p.items()}
        if not out:
            p["out"] = None
        return p

    def state(self, p, names, extra):
        """The state_dict: extra tensors first, then the projections under their names."""
        state = OrderedDict((name, torch.from_numpy(np.ascontiguousarray(a))) for name, a in extra.items())
        for role, name in zip(["q", "k", "v", "out"], names):
            if p[role] is not None:
                for part, a in zip(("weight", "bias"), p[role]):
                    if a is not None:
                        state[name + "." + part] = torch.from_numpy(a)
        return state

    def save(self, case_id, checkpoint, x, y, tolerance, flags=(), note=""):
        stem = "layers/" + case_id
        path = checkpoint  # a file of testdata itself, relative to the manifest
        if not isinstance(checkpoint, str):
            path = stem + ".pt"
            torch.save(checkpoint, os.path.join(self.root, path))
        np.save(os.path.join(self.root, stem + ".x.npy"), x)
        np.save(os.path.join(self.root, stem + ".y64.npy"), y)
        case = {"id": case_id, "checkpoint": path, "flags": list(flags), "x": stem + ".x.npy", "y64": stem + ".y64.npy",
                "tolerance": tolerance}
        self.list.append({**case, "note": note} if note else case)

    def one(self, case_id, names, extra, bias, p, causal=0, flags=(), note="", t=6, wrap=lambda s: s):
        dim = p["q"][0].shape[1]
        x = self.normal(2, t, dim, std=1.0)
        y = layer(x.astype(np.float64), p, bias, causal)
        tol = tolerance(layer32(x, p, bias, causal), y)
        self.save(case_id, wrap(self.state(p, names, extra)), x, y, tol, flags, note)


# ---- the dialects ---------------------------------------------------------------------------------------------------

def rish(c):
    names = ["to_q", "to_k", "to_v", "project"]
    origin = "names of rish-16/aft-pytorch"
    p, w = c.projections(5, 6), c.normal(8, 8)
    c.one("rish-full", names, {"wbias": w}, pairs(w), p, note=origin)
    c.one("rish-local", names, {"wbias": w}, window(w, 3), p, flags=["--variant", "local", "--window", "3"], note=origin)
    c.one("rish-simple", names, {}, none, p, note=origin)
    c.one("rish-dataparallel", names, {"wbias": w}, pairs(w), p, note=origin + ", wrapped by DataParallel",
          wrap=lambda s: OrderedDict(("module." + k, a) for k, a in s.items()))
    optimiser = {"state": {0: {"step": 3, "exp_avg": torch.zeros(8, 8)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    c.one("rish-training", names, {"wbias": w}, pairs(w), p, note=origin + ", in a training checkpoint",
          wrap=lambda s: {"epoch": 3, "model": s, "optimizer": optimiser})
    halves = {role: tuple(a.astype(np.float16) for a in wb) for role, wb in p.items()}
    c.one("rish-float16", names, {"wbias": w.astype(np.float16)}, pairs(w.astype(np.float16)), halves,
          note=origin + ", stored as float16")


def stack(c):
    """Two rish layers as blocks.0.aft.*, blocks.1.aft.*: the second runs on what the first gives."""
    names = ["to_q", "to_k", "to_v", "project"]
    x, state = c.normal(2, 6, 5, std=1.0), OrderedDict()
    y, y32 = x.astype(np.float64), x
    for n in range(2):
        p, w = c.projections(5, 6), c.normal(7, 7)
        for name, a in c.state(p, names, {"wbias": w}).items():
            state["blocks.%d.aft.%s" % (n, name)] = a
        y, y32 = layer(y, p, pairs(w), 0), layer32(y32, p, pairs(w), 0)
    c.save("rish-stack", state, x, y, tolerance(y32, y), note="two layers named blocks.N.aft.*")


def labml(c):
    names = ["query", "key", "value", "output"]
    p, w = c.projections(5, 5), c.normal(8, 8)
    mask = np.abs(np.subtract.outer(np.arange(8), np.arange(8))) < 3
    for causal in (0, 1):
        c.one("labml-local" + ("-causal" if causal else ""), names, {"pos_bias": w, "local_mask": mask}, window(w, 3), p,
              causal=causal, flags=["--causal" if causal else "--causal=false"],
              note="names of labml annotated implementations; x and y are (B,T,D) here")


def xmu(c):
    names = ["fc_q", "fc_k", "fc_v", None]
    p, w = c.projections(5, 5, out=False), c.normal(6, 6)
    note = "names of xmu-xiaoma666/External-Attention-pytorch"
    c.one("xmu-full", names, {"position_biases": w}, pairs(w), p, note=note)
    c.one("xmu-simple", names, {}, none, p, note=note)


def comvex(c):
    p, u, v = c.projections(5, 6, bias=False), c.normal(6, 4), c.normal(6, 4)
    w = u.astype(np.float64) @ v.astype(np.float64).T
    c.one("comvex-full", ["Q", "K", "V", "out_linear"], {"u": u, "v": v}, pairs(w), p, note="names of blakechi/ComVEX")


def su(c):
    names, note = ["to_q", "to_k", "to_v", "out_proj"], "names of Su569926/aft"
    p, w = c.projections(5, 5), c.normal(8, 8)
    c.one("su-full", names, {"position_bias": w}, pairs(w), p, note=note)
    c.one("su-local", names, {"position_bias": w}, window(w, 3), p, note=note + ", whose window of 2 is s = 3",
          flags=["--variant", "local", "--window", "3", "--causal=false"])
    u, v = c.normal(8, 4), c.normal(8, 4)
    c.one("su-local-causal", names, {"position_u": u, "position_v": v},
          window(u.astype(np.float64) @ v.astype(np.float64).T, 3), p, causal=1, note=note,
          flags=["--window", "3", "--causal"])
    p, w = c.projections(6, 6, keys=3), c.normal(3, 1, 3, 3)
    gain, offset = c.normal(3, 1, 1, 1), c.normal(3, 1, 1, 1)
    kernel = normalised(w, gain.ravel(), offset.ravel(), 0, limit=3.0)[:, 0]
    c.one("su-conv2d", names, {"position_bias": w, "position_gain": gain, "position_offset": offset},
          taps2d(kernel, (1, 1), 4), p, t=12, note=note, flags=["--grid", "3,4"])


def nid(c):
    names, note = ["W_q", "W_k", "W_v", "out_proj"], "names of NidheeshK7/SAiDL-Summer-Assignment--2026, always causal"
    p, u, v = c.projections(6, 6, bias=False), c.normal(8, 4), c.normal(8, 4)
    w = u.astype(np.float64) @ v.astype(np.float64).T
    c.one("nid-simple", names, {}, none, p, causal=1, note=note)
    c.one("nid-full", names, {"pos_bias_u": u, "pos_bias_v": v}, pairs(w), p, causal=1, note=note,
          flags=["--variant", "full"])
    c.one("nid-local", names, {"pos_bias_u": u, "pos_bias_v": v}, window(w, 3), p, causal=1, note=note,
          flags=["--variant", "local", "--window", "3"])
    p, w, gamma, beta = c.projections(6, 6, keys=3, bias=False), c.normal(3, 4), c.normal(3), c.normal(3)
    c.one("nid-conv", names, {"w": w, "gamma": gamma, "beta": beta}, taps(normalised(w, gamma, beta, 1), 3), p, causal=1,
          note=note)


# ---- our own checkpoints --------------------------------------------------------------------------------------------

def own_bias(a, state, prefix, width):
    """The bias of one layer of ours, from its config a and its tensors."""
    get = lambda name: state[prefix + name].numpy().astype(np.float64)
    if a["variant"] == "simple":
        return none
    if a["variant"] == "conv":
        w = normalised(get("w"), get("gamma"), get("beta"), 0)
        if w.ndim == 2:
            return taps(w, w.shape[1] - 1 if a["causal"] else (w.shape[1] - 1) // 2)
        return taps2d(w, (w.shape[1] // 2, w.shape[2] // 2), width)
    w = get("w") if prefix + "w" in state else get("u") @ get("v_t").T
    return pairs(w) if a["variant"] == "full" else window(w, a["window"])


def own(c, name, t, flags=(), width=None):
    """A checkpoint of examples/train: everything the import needs is in the file."""
    saved = torch.load(os.path.join(ROOT, name))
    state, x = saved["state_dict"], None
    for n, a in enumerate(saved["config"]["layers"]):
        prefix = "layers.%d." % n
        p = {role: (state[prefix + role + ".weight"].numpy(), state[prefix + role + ".bias"].numpy())
             for role in ("q", "k", "v", "out")}
        if x is None:
            x = c.normal(2, t, p["q"][0].shape[1], std=1.0)
            y, y32 = x.astype(np.float64), x
        bias = own_bias(a, state, prefix, width)
        y, y32 = layer(y, p, bias, a["causal"]), layer32(y32, p, bias, a["causal"])
    c.save(os.path.splitext(name)[0], "../" + name, x, y, tolerance(y32, y), flags, "made by examples/train")


def write(root):
    os.makedirs(os.path.join(root, "layers"))
    c = Layers(root)
    for dialect in (rish, stack, labml, xmu, comvex, su, nid):
        dialect(c)
    own(c, "stack.bin", 12)
    for name, t, flags, width in (("simple.bin", 6, (), None), ("full.bin", 7, (), None),
                                  ("local.bin", 6, (), None), ("conv1d.bin", 7, (), None),
                                  ("conv2d.bin", 12, ("--grid", "3,4"), 4)):
        own(c, name, t, flags, width)
    return c.list
