"""Writes testdata/fuse: AFT layers in plain PyTorch, each another way to write them, exported with torch.onnx.

    python3 testdata/make_fuse.py            # testdata/fuse
    python3 testdata/make_fuse.py stack DIR  # the models of docs/performance-avx512.md: six layers of 512 channels, MLPs

fuse.json says what a fuser has to find in each. Made with PyTorch 1.13; others name nodes and fold constants differently.
"""
import json
import os
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fuse")


class Layer(nn.Module):
    """Projections of AFT: dim channels in and out, hidden inside, a bias for up to 16 positions."""

    def __init__(self, dim=8, hidden=6, keys=None):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, hidden), nn.Linear(dim, keys or hidden), nn.Linear(dim, hidden)
        self.o = nn.Linear(hidden, dim)
        self.w = nn.Parameter(torch.randn(16, 16))

    def forward(self, x):
        return self.o(self.aft(self.q(x), self.k(x), self.v(x)))


class Full(Layer):
    def aft(self, q, k, v):
        t = q.shape[1]
        a = torch.exp(self.w[:t, :t])
        return torch.sigmoid(q) * (a @ (k.exp() * v) / (a @ k.exp()))


class Simple(Layer):
    def aft(self, q, k, v):
        return torch.sigmoid(q) * (F.softmax(k, dim=1) * v).sum(dim=1, keepdim=True)


class SequenceFirst(Layer):
    """(sequence, batch, dim), a causal window of 4, maxima of keys and biases taken off apart."""

    def __init__(self):
        super().__init__()
        ones = torch.ones(16, 16)
        self.register_buffer("near", (ones.tril(3) * ones.triu(-3)).bool())

    def aft(self, q, k, v):
        t = q.shape[0]
        w = (self.w[:t, :t] * self.near[:t, :t]).masked_fill(~torch.ones(t, t).tril().bool(), float("-inf"))
        a, b = torch.exp(w - w.amax(1, keepdim=True)), torch.exp(k - k.amax(0, keepdim=True))
        num, den = torch.einsum("ts,sbd->tbd", a, b * v), torch.einsum("ts,sbd->tbd", a, b)
        return torch.sigmoid(q) * num / den


class Pairs(Layer):
    """One number for every pair of positions and channel."""

    def aft(self, q, k, v):
        n, t, d = k.shape
        e = torch.exp(k.view(1, n, t, d) + self.w[:t, :t].view(t, 1, t, 1))
        y = torch.sum(e * v.view(1, n, t, d), dim=2) / torch.sum(e, dim=2)
        return torch.sigmoid(q) * y.permute(1, 0, 2)


class Factorised(Layer):
    def __init__(self):
        super().__init__()
        del self.w
        self.u, self.vt = nn.Parameter(torch.randn(16, 4)), nn.Parameter(torch.randn(4, 16))

    def aft(self, q, k, v):
        t = q.shape[1]
        p = torch.softmax(k[:, None] + (self.u @ self.vt)[None, :t, :t, None], dim=2)
        return torch.tanh(q) * torch.einsum("btsd,bsd->btd", p, v)


class Running(Layer):
    def aft(self, q, k, v):
        e = torch.exp(k - k.amax(dim=1, keepdim=True))
        return torch.sigmoid(q) * (torch.cumsum(e * v, 1) / (torch.cumsum(e, 1) + 1e-9))


class Masked(Layer):
    def aft(self, q, k, v):
        t = q.shape[1]
        w = self.w[:t, :t].masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -1e9)
        a = k[:, None] + w[None, :, :, None]
        e = torch.exp(a - a.amax(dim=2, keepdim=True))
        return torch.sigmoid(q) * ((e * v[:, None]).sum(2) / e.sum(2))


class Heads(Layer):
    """Heads that share the bias."""

    def aft(self, q, k, v):
        n, t, _ = q.shape
        q, k, v = (y.view(n, t, 3, 2).transpose(1, 2) for y in (q, k, v))
        a = torch.exp(self.w[:t, :t] - self.w[:t, :t].max())
        y = torch.sigmoid(q) * (a @ (k.exp() * v)) / (a @ k.exp())
        return y.transpose(1, 2).reshape(n, t, -1)


class Distance(Layer):
    """A bias that is computed from positions, without an end."""

    def aft(self, q, k, v):
        i = torch.arange(q.shape[1], device=q.device)
        a, b = torch.exp(-0.3 * (i[:, None] - i[None, :]).abs().float()), k.exp()
        return torch.sigmoid(q) * (a @ (b * v)) / (a @ b)


class Conv1D(Layer):
    def __init__(self):
        super().__init__(dim=12, hidden=12, keys=3)
        self.w = nn.Parameter(torch.randn(3, 4))

    def aft(self, q, k, v):
        n, t, d = q.shape
        b = torch.exp(k - k.amax(dim=1, keepdim=True))
        bv, taps = b.unsqueeze(-1) * v.view(n, t, 3, 4), (torch.exp(self.w) - 1).unsqueeze(1)
        near = F.conv1d(F.pad(bv.permute(0, 3, 2, 1).reshape(n * 4, 3, t), (3, 0)), taps, groups=3)
        num = near.view(n, 4, 3, t).permute(0, 3, 2, 1) + torch.cumsum(bv, 1)
        den = F.conv1d(F.pad(b.permute(0, 2, 1), (3, 0)), taps, groups=3).permute(0, 2, 1) + torch.cumsum(b, 1)
        return torch.sigmoid(q) * (num / den.unsqueeze(-1)).reshape(n, t, d)


class Conv2D(Layer):
    """Over a grid of 4 by 4."""

    def __init__(self):
        super().__init__(dim=12, hidden=12, keys=3)
        self.w = nn.Parameter(torch.randn(3, 1, 3, 3))

    def aft(self, q, k, v):
        n, t, d = q.shape
        b = torch.exp(k - k.amax(dim=1, keepdim=True)).transpose(1, 2).reshape(n, 3, 4, 4)
        bv, taps = b.unsqueeze(2) * v.transpose(1, 2).reshape(n, 3, 4, 4, 4), torch.exp(self.w) - 1
        wide = taps.unsqueeze(1).expand(3, 4, 1, 3, 3).reshape(12, 1, 3, 3)
        num = F.conv2d(bv.reshape(n, 12, 4, 4), wide, padding=1, groups=12).reshape(n, 3, 4, 4, 4)
        num = num + bv.sum(dim=(-2, -1), keepdim=True)
        den = F.conv2d(b, taps, padding=1, groups=3) + b.sum(dim=(-2, -1), keepdim=True)
        return torch.sigmoid(q) * (num / den.unsqueeze(2)).reshape(n, d, t).transpose(1, 2)


class DotProduct(Layer):
    """Attention, which is no AFT."""

    def aft(self, q, k, v):
        return torch.softmax(q @ k.transpose(1, 2) / 2.4, -1) @ v


class Hybrid(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.norm = nn.ModuleList([DotProduct(), Full(), Masked()]), nn.LayerNorm(8)
        self.ffn = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(self.norm(x))
            x = x + self.ffn(x)
        return x


MODELS = [
    (Full, 17, True, ["AFTFull"]), (Full, 13, False, ["AFTFull"]),
    (Full, 11, True, ["AFTFull"]), (Pairs, 9, False, ["AFTFull"]), (Heads, 12, True, ["AFTFull"]), (Simple, 17, True, ["AFTSimple"]),
    (SequenceFirst, 17, True, ["AFTLocal"]), (Pairs, 17, True, ["AFTFull"]), (Factorised, 17, True, ["AFTFull"]),
    (Running, 13, True, ["AFTSimple"]), (Masked, 17, True, ["AFTFull"]), (Heads, 17, True, ["AFTFull"]),
    (Distance, 17, True, ["AFTFull"]), (Conv1D, 17, True, ["AFTConv1D"]), (Conv2D, 17, False, ["AFTConv2D"]),
    (DotProduct, 17, True, []), (Hybrid, 17, True, ["AFTFull", "AFTFull"]),
]


class Stack(nn.Module):
    def __init__(self, kind, layers=6, dim=512, positions=1024):
        super().__init__()
        self.layers, self.norm = nn.ModuleList([kind(dim, dim) for _ in range(layers)]), nn.LayerNorm(dim)
        for layer in self.layers:
            layer.w = nn.Parameter(torch.randn(positions, positions) * 0.1)
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(self.norm(x))
            x = x + self.ffn(self.norm(x))
        return x


def stacks(folder):
    for kind in (Full, Masked):
        torch.manual_seed(0)
        torch.onnx.export(Stack(kind).eval(), torch.randn(1, 16, 512), os.path.join(folder, kind.__name__.lower() + ".onnx"),
                          input_names=["x"], output_names=["y"], opset_version=17, dynamic_axes={"x": {0: "batch", 1: "sequence"}})


def main():
    if sys.argv[1:2] == ["stack"]:
        return stacks(sys.argv[2])
    os.makedirs(OUT, exist_ok=True)
    entries = []
    for kind, opset, dynamic, want in MODELS:
        torch.manual_seed(0)
        model = kind().eval()
        name = "%s-%s-%d.onnx" % (kind.__name__.lower(), "dynamic" if dynamic else "static", opset)
        shape = (2, 16 if kind is Conv2D else 9, 12 if "Conv" in kind.__name__ else 8)
        axes = {0: "batch", 1: "sequence"}
        if kind is SequenceFirst:
            axes = {0: "sequence", 1: "batch"}
        torch.onnx.export(model, torch.randn(shape), os.path.join(OUT, name), input_names=["x"], output_names=["y"],
                          opset_version=opset, dynamic_axes={"x": axes, "y": axes} if dynamic else None)
        entries.append({"model": name, "finds": want})
    with open(os.path.join(OUT, "fuse.json"), "w") as f:
        json.dump(entries, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
