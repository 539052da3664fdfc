#!/usr/bin/env python3
"""Makes torch2*.pt and torch2*.safetensors, and beside each the arrays it holds as .npz.

    python3 make_torch2.py        in this folder; wants PyTorch >= 2.1, NumPy and safetensors

The values are random and new in every run. torch2_cuda.pt is left as it is on a machine without CUDA.
"""
import numpy as np
import torch
from safetensors.torch import save_file


def arrays(name, tensors):
    def plain(t):
        t = t.detach().cpu()
        return (t.to(torch.float32) if t.dtype == torch.bfloat16 else t).contiguous().numpy()
    np.savez(name.rsplit(".", 1)[0] + ".npz", **{k: plain(v) for k, v in tensors.items()})


def everything():
    w, base = torch.randn(5, 7), torch.randn(4, 10)
    return {
        "w": w, "half": torch.randn(3, 4).half(), "double": torch.randn(2, 3, dtype=torch.float64),
        "ids": torch.arange(6).reshape(2, 3), "bytes": torch.arange(5, dtype=torch.uint8),
        "mask": torch.tensor([True, False, True]), "view": base[1:3, 2:10:2], "transposed": base.t(),
        "scalar": torch.tensor(2.5), "i32": torch.tensor([1, -2], dtype=torch.int32), "empty": torch.zeros(0, 3),
        "param": torch.nn.Parameter(torch.randn(3)), "tied": w,
    }


def main():
    tensors = everything()
    torch.save(tensors, "torch2.pt")
    arrays("torch2.pt", tensors)
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, "torch2_weights.safetensors", {"format": "pt"})
    arrays("torch2_weights.safetensors", tensors)
    if torch.cuda.is_available():
        tensors = {"w": torch.randn(5, 7, device="cuda"), "b": torch.randn(3, device="cuda")}
        torch.save(tensors, "torch2_cuda.pt")
        arrays("torch2_cuda.pt", tensors)


if __name__ == "__main__":
    main()
