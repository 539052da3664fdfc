"""Attention Free Transformer layers (Zhai et al. 2021, arXiv:2105.14103) for PyTorch, in the names aftonnx reads.

    layer = AFT(dim=64, variant="local", max_len=256, window=32, causal=True)
    y = layer(x)                                   # (batch, sequence, dim) -> the same

    stack = Stack([layer, ...])
    stack.save("model.bin")                        # then: aftonnx export model.bin

Plain on purpose: every pair of positions is computed, O(batch * sequence^2 * hidden) memory.
"""
import torch
from torch import nn


class AFT(nn.Module):
    """One layer. variant: "simple" (eq. 5), "full" (eq. 2), "local" (eq. 4: the bias reaches |t-t'| < window, outside it
    is 0) or "conv" (eq. 6: kernel is an int for sequences, or (height, width) for grids, one kernel a head).

    rank makes the biases of full and local u v^T (eq. 7). hidden is the width inside, dim by default.
    """

    def __init__(self, dim, variant, hidden=None, max_len=None, window=None, rank=None, heads=1, kernel=None,
                 causal=False):
        super().__init__()
        hidden = hidden or dim
        self.variant, self.window, self.causal = variant, window, causal
        self.q = nn.Linear(dim, hidden)
        self.k = nn.Linear(dim, heads if variant == "conv" else hidden)
        self.v = nn.Linear(dim, hidden)
        self.out = nn.Linear(hidden, dim)
        if variant == "conv":
            taps = (kernel,) if isinstance(kernel, int) else tuple(kernel)
            self.w = nn.Parameter(0.1 * torch.randn(heads, *taps))
            self.gamma = nn.Parameter(torch.zeros(heads))
            self.beta = nn.Parameter(torch.zeros(heads))
        elif variant != "simple" and rank:
            self.u = nn.Parameter(0.1 * torch.randn(max_len, rank))
            self.v_t = nn.Parameter(0.1 * torch.randn(max_len, rank))
        elif variant != "simple":
            self.w = nn.Parameter(torch.zeros(max_len, max_len))

    def config(self):
        """What the tensors do not say; it is saved beside them."""
        facts = {"variant": self.variant, "causal": self.causal}
        if self.variant == "local":
            facts["window"] = self.window
        return facts

    def bias(self, length, grid):
        """The biases as (heads or 1, length, length): row = the position that looks, column = the one looked at."""
        if self.variant == "simple":
            return torch.zeros(1, length, length)
        if self.variant == "conv":
            return self.kernel_bias(length, grid)
        w = self.u @ self.v_t.T if hasattr(self, "u") else self.w
        w = w[:length, :length]
        if self.variant == "local":
            at = torch.arange(length)
            w = w * ((at[:, None] - at[None, :]).abs() < self.window)
        return w[None]

    def kernel_bias(self, length, grid):
        flat = self.w.flatten(1)
        std = flat.std(1, unbiased=False, keepdim=True) + 1e-6
        w = self.gamma[:, None] * (flat - flat.mean(1, keepdim=True)) / std + self.beta[:, None]  # eq. 8
        taps = self.w.shape[1:]
        at = torch.arange(length)
        if len(taps) == 1:
            pad = taps[0] - 1 if self.causal else (taps[0] - 1) // 2
            tap = [at[None, :] - at[:, None] + pad]
        else:
            row, column = at // grid[1], at % grid[1]
            tap = [row[None, :] - row[:, None] + taps[0] // 2, column[None, :] - column[:, None] + taps[1] // 2]
        inside, index = torch.ones(length, length, dtype=torch.bool), torch.zeros(length, length, dtype=torch.long)
        for t, size in zip(tap, taps):
            inside = inside & (t >= 0) & (t < size)
            index = index * size + t.clamp(0, size - 1)
        return w[:, index] * inside

    def forward(self, x, grid=None):
        batch, length, _ = x.shape
        q, k, v = self.q(x), self.k(x), self.v(x)
        w = self.bias(length, grid)
        if self.variant == "conv":
            per_head = v.shape[-1] // k.shape[-1]
            k, w = k.repeat_interleave(per_head, -1), w.repeat_interleave(per_head, 0)
        logits = k[:, None] + w.permute(1, 2, 0)  # (batch, t, t', hidden)
        if self.causal:
            future = torch.ones(length, length, dtype=torch.bool).triu(1)
            logits = logits.masked_fill(future[:, :, None], float("-inf"))
        mean = torch.einsum("btsd,bsd->btd", logits.softmax(2), v)
        return self.out(torch.sigmoid(q) * mean)


class Stack(nn.Module):
    """Layers one after the other: no residual, no norm."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x, grid=None):
        for layer in self.layers:
            x = layer(x, grid)
        return x

    def save(self, path):
        config = {"layers": [layer.config() for layer in self.layers]}
        torch.save({"config": config, "state_dict": self.state_dict()}, path)
