#!/usr/bin/env python3
"""Makes the checkpoints of this folder, and beside each the arrays it holds as .npz.

    python3 make.py        in this folder; wants PyTorch (1.13 made the committed files) and NumPy

Values are small integers over powers of two, so that every element type holds them exactly. In an .npz a "/" of a tensor's
name is written "__", and float16 and bfloat16 are widened to float32, which NumPy can hold.
"""
import collections
import json
import struct

import numpy as np
import torch


def ramp(*shape, dtype=torch.float32, start=-5):
    n = int(np.prod(shape, dtype=np.int64))
    return ((torch.arange(n) + start).to(torch.float64) / 4).to(dtype).reshape(shape)


def wide(t):
    t = t.detach()
    return (t.to(torch.float32) if t.dtype in (torch.float16, torch.bfloat16) else t).contiguous().numpy()


def save(name, obj, tensors, **options):
    torch.save(obj, name, **options)
    arrays = {k.replace("/", "__"): wide(v) for k, v in tensors.items()}
    np.savez(name.rsplit(".", 1)[0] + ".npz", **arrays)


def layer():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(ramp(*p.shape, start=i))
    return net


def views():
    base = ramp(8, 6)
    line = ramp(16)
    return {
        "whole": base,
        "rows": base[2:5],
        "transposed": base.t(),
        "column": base[:, 3],
        "strided": base[::3, ::2],
        "permuted": ramp(2, 3, 4).permute(2, 0, 1),
        "expanded": ramp(5).expand(4, 5),
        "scalar": base[1, 1],
        "empty": base[3:3],
        "windows": line.unfold(0, 4, 3),
        "diagonal": torch.diagonal(base),
    }


def types():
    return {str(d).split(".")[1]: ramp(3, 2, dtype=d, start=0) for d in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16,
        torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)} | {
        "bool": torch.tensor([True, False, True]),
        "limits": torch.tensor([-2**63, 2**63 - 1]),
        "special": torch.tensor([float("inf"), -float("inf"), 1e-45, -0.0]),
        "none": torch.zeros(0, 3),
        "zero_dim": torch.tensor(2.5, dtype=torch.float64),
    }


def training():
    net = layer()
    opt = torch.optim.Adam(net.parameters(), lr=0.5)
    net(ramp(2, 3)).sum().backward()
    opt.step()
    state = {
        "model": net.state_dict(),
        "optimizer": opt.state_dict(),
        "epoch": 3,
        "hyper_parameters": {"name": "aft — été", "dropout": 0.25, "causal": True, "seed": 2**70,
                             "milestones": collections.Counter([10, 10, 20])},
        "note": None, "history": [1.5, (2, 3)], "size": torch.Size([4, 3]), "dtype": torch.float16,
        "device": torch.device("cpu"),
        "tags": {"a", "b"}, "raw": b"\x00\xff",
    }
    tensors = {"model/" + k: v for k, v in state["model"].items()}
    for i, s in state["optimizer"]["state"].items():
        tensors.update({f"optimizer/state/{i}/{k}": v for k, v in s.items()})
    return state, tensors


def safetensors(name, arrays, metadata):
    header, data = {"__metadata__": metadata}, b""
    for key, (dtype, a) in arrays.items():
        raw = a.tobytes()
        header[key] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(name, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)
    widen = {"BF16": lambda a: (a.astype("<u4") << 16).view("<f4"), "F16": lambda a: a.astype("<f4")}
    np.savez(name.rsplit(".", 1)[0] + ".npz", **{k: widen.get(d, lambda a: a)(a) for k, (d, a) in arrays.items()})


def main():
    net = layer()
    save("state_dict.pt", net.state_dict(), net.state_dict())
    save("parameters.pt", dict(net.named_parameters()), dict(net.named_parameters()))
    save("protocol5.pt", net.state_dict(), net.state_dict(), pickle_protocol=5)
    save("legacy.pt", net.state_dict(), net.state_dict(), _use_new_zipfile_serialization=False)
    save("views.pt", views(), views())
    save("views_legacy.pt", *[views()] * 2, _use_new_zipfile_serialization=False)
    save("types.pt", types(), types())
    save("types_legacy.pt", types(), types(), _use_new_zipfile_serialization=False)
    save("training.ckpt", *training())
    a, b = ramp(2), ramp(2, 2)
    save("list.pt", [a, (b, [a])], {"0": a, "1/0": b, "1/1/0": a})
    save("tensor.pt", b, {"": b})
    tied = ramp(5, 4)
    save("tied.pt", {"embed": tied, "head": tied, "head_t": tied.t()}, {"embed": tied, "head": tied, "head_t": tied.t()})
    torch.save(net, "module.pt")
    r = np.arange(6)
    safetensors("weights.safetensors", {
        "w é \"quoted\"": ("F32", (r / 4).astype("<f4").reshape(2, 3)),
        "a/b": ("F64", (r / 8).astype("<f8")),
        "half": ("F16", (r / 2).astype("<f2")),
        "bf16": ("BF16", np.array([0x3f80, 0xc000, 0x7f80], "<u2")),
        "i8": ("I8", np.array([-128, 127], "i1")), "u8": ("U8", np.array([255, 0, 7], "u1")),
        "i16": ("I16", np.array([-2], "<i2")), "u16": ("U16", np.array([65535], "<u2")),
        "i32": ("I32", np.array([[-3]], "<i4")), "u32": ("U32", np.array([2**32 - 1], "<u4")),
        "i64": ("I64", np.array(-4, "<i8")), "u64": ("U64", np.array([2**64 - 1], "<u8")),
        "bool": ("BOOL", np.array([True, False])),
        "empty": ("F32", np.zeros((0, 4), "<f4")),
    }, {"format": "pt", "note": "été"})


if __name__ == "__main__":
    main()
