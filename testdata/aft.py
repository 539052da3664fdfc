"""Attention Free Transformers in plain Python: the formulas of arXiv:2105.14103 as the plainest loop there is.

Every weight of a row is exp(K + w - max), summed with math.fsum. Nothing here is shared with the Go code that the answers
are held against.
"""
import math

import numpy as np

GATES = {0: "sigmoid", 1: "tanh", 2: "identity", 3: "absent"}

def gate(q, kind):
    if kind == 0:
        return 1 / (1 + math.exp(-q)) if q >= 0 else math.exp(q) / (1 + math.exp(q))
    return [None, math.tanh(q), q, 1.0][kind]


def weighted_mean(logits, values):
    """sum exp(l) v / sum exp(l) over the sources whose logit is not -inf; 0 where there are none."""
    kept = [(l, v) for l, v in zip(logits, values) if l != -math.inf]
    if not kept:
        return 0.0
    top = max(l for l, _ in kept)
    weights = [math.exp(l - top) for l, _ in kept]
    return math.fsum(w * v for w, (_, v) in zip(weights, kept)) / math.fsum(weights)


def attend(q, k, v, bias, causal, gate_kind):
    """The sum all operators share: bias(head, t, s) is the position bias, channel d has head d // (D / K's channels)."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    y = np.zeros(q.shape)
    per_head = q.shape[2] // k.shape[2]
    for b, t, d in np.ndindex(*q.shape):
        head = d // per_head
        sources = range(t + 1) if causal else range(k.shape[1])
        logits = [float(k[b, s, head]) + bias(head, t, s) for s in sources]
        y[b, t, d] = gate(float(q[b, t, d]), gate_kind) * weighted_mean(logits, [float(v[b, s, d]) for s in sources])
    return y


def dot(a, b):
    return math.fsum(float(x) * float(y) for x, y in zip(a, b))


def rows(f, x):
    """f of every row x[..., :]; rows may change their length."""
    x = np.asarray(x, np.float64)
    return np.array([f(row) for row in x.reshape(-1, x.shape[-1])], np.float64).reshape(*x.shape[:-1], -1)


def linear(x, weight, bias=None):
    """y[o] = sum_i x[i] weight[o, i] + bias[o]"""
    return rows(lambda row: [dot(row, w) + (0.0 if bias is None else float(bias[o])) for o, w in enumerate(weight)], x)


def layer_norm(x, gain, bias, eps):
    """gain (x - mean) / sqrt(var + eps) + bias over the channels; the variance divides by their number."""
    def one(row):
        mean = math.fsum(row) / len(row)
        var = math.fsum((v - mean) ** 2 for v in row) / len(row)
        return [float(g) * (v - mean) / math.sqrt(var + eps) + float(b) for v, g, b in zip(row, gain, bias)]
    return rows(one, x)


def gelu(x):
    """x times the normal distribution at x."""
    return rows(lambda row: [v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in row], x)


def patches(pixels, weight, bias):
    """The projection of every p x p patch, row by row of the grid: pixels (B,C,H,W), weight (D,C,p,p)."""
    b, c, height, width = pixels.shape
    p = weight.shape[2]
    cut = [[pixels[n, :, p * i:p * i + p, p * j:p * j + p].reshape(-1)
            for i in range(height // p) for j in range(width // p)] for n in range(b)]
    return linear(np.array(cut), weight.reshape(len(weight), -1), bias)


def aft_full(c):
    return lambda head, t, s: float(c["W"][t, s])


def aft_simple(c):
    return lambda head, t, s: 0.0


def aft_local(c):
    window = c["window"]
    return lambda head, t, s: float(c["W"][t, s - t + window - 1]) if abs(t - s) < window else 0.0


def aft_conv1d(c):
    def bias(head, t, s):
        tap = s - t + c["pad_left"]
        return float(c["W"][head, tap]) if 0 <= tap < c["W"].shape[1] else 0.0
    return bias


def aft_conv2d(c):
    (_, kh, kw), width = c["W"].shape, int(c["grid"][1])

    def bias(head, t, s):
        a = s // width - t // width + c["pads"][0]
        b = s % width - t % width + c["pads"][1]
        return float(c["W"][head, a, b]) if 0 <= a < kh and 0 <= b < kw else 0.0
    return bias


OPS = {
    "AFTFull": (aft_full, ["Q", "K", "V", "W"], [], "eq. 2"),
    "AFTSimple": (aft_simple, ["Q", "K", "V"], [], "eq. 5"),
    "AFTLocal": (aft_local, ["Q", "K", "V", "W"], ["window"], "eq. 4"),
    "AFTConv1D": (aft_conv1d, ["Q", "K", "V", "W"], ["pad_left"], "eq. 6"),
    "AFTConv2D": (aft_conv2d, ["Q", "K", "V", "W", "grid"], ["pads"], "eq. 6 over a grid"),
}
