"""Attention Free Transformers (Zhai et al. 2021, arXiv:2105.14103) for PyTorch 1.13 and newer, in the names aftonnx reads.

    blocks = [Block(128, "local", max_len=256, window=32, rank=64, causal=True) for _ in range(8)]
    model = LanguageModel(blocks, tokens=256, context=256)
    logits = model(ids)                            # (batch, sequence) -> (batch, sequence, tokens)
    model.save("model.bin", half=True)             # then: aftonnx export model.bin

AFT is the layer alone, Block adds norms, residuals and an MLP; Stack, LanguageModel and ImageModel are whole networks.
"""
import torch
from torch import nn
from torch.nn import functional as F

BLOCK = 32  # positions


class AFT(nn.Module):
    """One layer: (batch, sequence, dim) -> the same. variant: "simple" (eq. 5), "full" (eq. 2), "local" (eq. 4: the bias
    reaches |t-t'| < window, outside it is 0) or "conv" (eq. 6: kernel is an int for sequences, or (height, width) for grids,
    one kernel a head).

    rank makes the biases of full and local u v^T (eq. 7). hidden is the width inside, dim by default.

    Computed as exp(w) (exp(k) v) / exp(w) exp(k), by matrix products, in O(batch * sequence * hidden) memory; with causal,
    sequence / 64 times that. Keys are taken relative to the largest of their channel; with causal, positions go by blocks,
    each relative to the largest key up to its end, because keys that grow along the sequence are the only way AFT-simple has
    to prefer what came last. The limit that remains: a position gets 0/0 in float32 when a later key of its block is about
    125 above all it sees. Under autocast this part keeps the precision of the parameters.
    """

    def __init__(self, dim, variant, hidden=None, max_len=None, window=None, rank=None, heads=1, kernel=None,
                 causal=False):
        super().__init__()
        hidden = hidden or dim
        self.variant, self.window, self.causal = variant, window, causal
        self.heads = heads if variant == "conv" else 1
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

    def forward(self, x, grid=None):
        qkv = self.q(x), self.k(x), self.v(x)
        with torch.autocast(x.device.type, enabled=False):  # exponents have no digits to spare
            mixed = self.mix(*(a.to(self.q.weight.dtype) for a in qkv), grid)
        return self.out(mixed)

    def mix(self, q, k, v, grid):
        """sigmoid(q) times the weighted mean of v; grid is the (height, width) of the positions for two-dimensional kernels."""
        batch, length, hidden = v.shape
        k, v = (a.view(batch, length, self.heads, -1).transpose(1, 2) for a in (k, v))  # conv: one key a head and position
        weights, rows = self.weights(length, grid), []
        for start in range(0, length, BLOCK if self.causal else length):
            end = start + BLOCK if self.causal else length
            seen = k[:, :, :end]
            exp_k = (seen - seen.detach().amax(2, keepdim=True) + 40).exp()  # 40: more room below than above
            rows.append(weights[:, start:end, :end] @ torch.cat([exp_k * v[:, :, :end], exp_k], -1))
        top, bottom = torch.cat(rows, 2).split([v.shape[-1], k.shape[-1]], -1)
        mean = (top / bottom).transpose(1, 2).reshape(batch, length, hidden)
        return torch.sigmoid(q) * mean

    def weights(self, length, grid):
        """exp(w), up to a factor a row, as (heads, length, length): row = the position that looks, column = the one looked at."""
        if self.variant == "simple":
            w = torch.zeros(1, length, length, dtype=self.q.weight.dtype, device=self.q.weight.device)
        else:
            w = self.kernel_bias(length, grid) if self.variant == "conv" else self.pair_bias(length)
        if self.causal:
            w = w.masked_fill(torch.ones_like(w, dtype=torch.bool).triu(1), float("-inf"))
        return (w - w.detach().amax(-1, keepdim=True)).exp()

    def pair_bias(self, length):
        w = self.u @ self.v_t.T if hasattr(self, "u") else self.w
        w = w[:length, :length]
        if self.variant == "local":
            at = torch.arange(length, device=w.device)
            w = w * ((at[:, None] - at[None, :]).abs() < self.window)
        return w[None]

    def kernel_bias(self, length, grid):
        flat = self.w.flatten(1)
        std = flat.std(1, unbiased=False, keepdim=True) + 1e-6
        w = self.gamma[:, None] * (flat - flat.mean(1, keepdim=True)) / std + self.beta[:, None]  # eq. 8
        taps = self.w.shape[1:]
        at = torch.arange(length, device=w.device)
        if len(taps) == 1:
            pad = taps[0] - 1 if self.causal else (taps[0] - 1) // 2
            tap = [at[None, :] - at[:, None] + pad]
        else:
            row, column = torch.div(at, grid[1], rounding_mode="floor"), at % grid[1]
            tap = [row[None, :] - row[:, None] + taps[0] // 2, column[None, :] - column[:, None] + taps[1] // 2]
        inside, index = torch.ones_like(tap[0], dtype=torch.bool), torch.zeros_like(tap[0])
        for t, size in zip(tap, taps):
            inside = inside & (t >= 0) & (t < size)
            index = index * size + t.clamp(0, size - 1)
        return w[:, index] * inside


class Block(AFT):
    """An AFT layer and an MLP, each behind a LayerNorm and beside a residual: h = x + AFT(norm1(x)), y = h + MLP(norm2(h))."""

    def __init__(self, dim, variant, **arguments):
        super().__init__(dim, variant, **arguments)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x, grid=None):
        x = x + super().forward(self.norm1(x), grid)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Stack(nn.Module):
    """Layers one after the other."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x, grid=None):
        for layer in self.layers:
            x = layer(x, grid)
        return x

    def save(self, path, half=False, **facts):
        """Writes tensors and config, in half precision if asked; facts are further keys of the config."""
        state = {name: tensor.detach().cpu() for name, tensor in self.state_dict().items()}
        if half:
            state = {name: tensor.half() for name, tensor in state.items()}
        torch.save({"config": {"layers": [layer.config() for layer in self.layers], **facts}, "state_dict": state}, path)

    def load(self, path):
        """Fills the tensors with those of a saved file, whatever its precision."""
        self.load_state_dict(torch.load(path, map_location="cpu")["state_dict"])
        return self


class LanguageModel(Stack):
    """Blocks between an embedding of tokens and positions and a head tied to the tokens: ids -> logits of the next token."""

    def __init__(self, blocks, tokens, context):
        super().__init__(blocks)
        dim = blocks[0].out.out_features
        self.embed, self.positions, self.norm = nn.Embedding(tokens, dim), nn.Embedding(context, dim), nn.LayerNorm(dim)
        for table in (self.embed, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids):
        x = self.embed(ids) + self.positions.weight[:ids.shape[1]]
        return self.norm(super().forward(x)) @ self.embed.weight.T


class ImageModel(Stack):
    """Blocks on the grid of an image's patches, then the mean over positions: (batch, channels, height, width) -> logits of
    the classes. No class token and no positions, as in the paper's AFT-conv: any image size that divides into patches works.
    """

    def __init__(self, blocks, classes, channels=3, patch=4):
        super().__init__(blocks)
        dim = blocks[0].out.out_features
        self.patch = nn.Conv2d(channels, dim, patch, stride=patch)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, images):
        patches = self.patch(images)  # (batch, dim, rows, columns)
        x = super().forward(patches.flatten(2).transpose(1, 2), patches.shape[2:])
        return self.head(self.norm(x).mean(1))
