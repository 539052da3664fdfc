#!/usr/bin/env python3
"""Trains an AFT-conv classifier of rendered characters, 0-9 A-Z a-z; made testdata/glyphs.bin.

    python3 glyphs.py render FONTS.npz FOLDER... --held-out FOLDER    draw all characters of all fonts in folders
    python3 glyphs.py train FONTS.npz MODEL                           write a checkpoint (half precision)
    python3 glyphs.py eval FONTS.npz MODEL                            accuracy on the fonts held out, as JSON
    python3 glyphs.py samples FONTS.npz MODEL FOLDER                  some of them as images, and what the model says

An image is 32 by 32 grey pixels; x = (pixel / 255 - 0.5) / 0.5. Capitals are 20 pixels high.
"""
import argparse
import json
import pathlib
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from aft import Block, ImageModel

LABELS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SIZE, DRAWN, CAPITAL = 32, 64, 40  # pixels: an image, a drawing, and the height of an H in a drawing
MEAN, STD = 0.5, 0.5
SAMPLES = "A3gMQtw7"


# ---- drawings -------------------------------------------------------------------------------------------------------

def draw(path):
    """(62, 64, 64) uint8, ink = 255; None for a font that lacks a character or draws two alike."""
    font = ImageFont.truetype(str(path), 100)
    _, top, _, bottom = font.getbbox("H", anchor="ls")
    font = ImageFont.truetype(str(path), max(1, round(100 * CAPITAL / max(1, bottom - top))))
    drawings = []
    for label in LABELS + "\uffff":
        left, _, right, _ = font.getbbox(label, anchor="ls")
        image = Image.new("L", (DRAWN, DRAWN))
        ImageDraw.Draw(image).text(((DRAWN - left - right) // 2, 46), label, 255, font, "ls")
        drawings.append(np.asarray(image))
    distinct = {drawing.tobytes() for drawing in drawings}
    return np.stack(drawings[:-1]) if len(distinct) == len(drawings) else None


def render(arguments):
    arrays = {}
    for part, folders in (("training", arguments.folders), ("held_out", arguments.held_out)):
        paths = sorted((path for folder in folders for path in pathlib.Path(folder).rglob("*.[ot]tf")), key=lambda p: p.name)
        drawings = {path.stem: draw(path) for path in paths}
        drawings = {name: drawing for name, drawing in drawings.items() if drawing is not None}
        arrays[part], arrays[part + "_names"] = np.stack(list(drawings.values())), np.array(list(drawings))
        print("%s: %d fonts" % (part, len(drawings)))
    np.savez_compressed(arguments.fonts, **arrays)


def drawings(path, part):
    """(ink (n,1,64,64) in 0..1, label (n)) of all fonts of a part."""
    fonts = torch.from_numpy(np.load(path)[part])
    return fonts.flatten(0, 1)[:, None].float() / 255, torch.arange(len(LABELS)).repeat(len(fonts))


def plain(ink):
    """Black on white, (n,1,64,64) -> (n,1,32,32), in whole steps of 1/255 as an image file has them."""
    return ((1 - F.avg_pool2d(ink, 2)) * 255).round() / 255


def disturbed(ink):
    """Turned, sheared, scaled, moved, in two greys, with noise: (n,1,64,64) -> (n,1,32,32)."""
    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(len(ink), *shape, device=ink.device)
    turn, shear, wide, high = uniform(-0.2, 0.2), uniform(-0.25, 0.25), uniform(0.85, 1.25), uniform(0.85, 1.25)
    cos, sin = turn.cos(), turn.sin()
    affine = torch.stack([wide * cos, high * (shear * cos - sin), uniform(-0.15, 0.15),
                          wide * sin, high * (shear * sin + cos), uniform(-0.15, 0.15)], -1).view(-1, 2, 3)
    ink = F.grid_sample(ink, F.affine_grid(affine, (len(ink), 1, SIZE, SIZE), align_corners=False), align_corners=False)
    paper, contrast = uniform(0, 1, 1, 1, 1), uniform(0.35, 1, 1, 1, 1)
    image = paper + ink * contrast * torch.where(paper > 0.5, -1.0, 1.0)
    return (image + uniform(0, 0.12, 1, 1, 1) * torch.randn_like(image)).clamp(0, 1)


def normalise(image):
    return (image - MEAN) / STD


# ---- model ----------------------------------------------------------------------------------------------------------

def build():
    blocks = [Block(64, "conv", heads=16, kernel=(7, 7)) for _ in range(6)]
    return ImageModel(blocks, classes=len(LABELS), channels=1, patch=4)


def train(arguments):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ink, label = (a.to(device) for a in drawings(arguments.fonts, "training"))
    torch.manual_seed(arguments.seed)
    model = build().to(device)
    torch.set_float32_matmul_precision("high")
    print("%d parameters, %d drawings" % (sum(p.numel() for p in model.parameters()), len(ink)), flush=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=arguments.rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, arguments.rate, total_steps=arguments.steps, pct_start=0.1, cycle_momentum=False)
    for step in range(1, arguments.steps + 1):
        chosen = torch.randint(len(ink), (arguments.batch,), device=device)
        image = normalise(disturbed(ink[chosen]))
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = model(image)
        loss = F.cross_entropy(logits.float(), label[chosen], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == arguments.steps:
            right = (logits.argmax(1) == label[chosen]).float().mean()
            print("step %d  loss %.4f  right %.4f" % (step, loss, right), flush=True)
    model.save(arguments.model, half=True, image_size=[SIZE, SIZE], mean=[MEAN], std=[STD], labels="\n".join(LABELS))


@torch.no_grad()
def accuracy(model, images, label, alike=str):
    """(share with the right answer first, share with it among the first five); alike maps a label to what counts as equal."""
    best = torch.cat([model(normalise(part)) for part in images.split(512)]).topk(5).indices.tolist()
    right = [[alike(LABELS[i]) == alike(LABELS[want]) for i in five] for five, want in zip(best, label.tolist())]
    return sum(row[0] for row in right) / len(right), sum(map(any, right)) / len(right)


def evaluate(arguments):
    torch.manual_seed(arguments.seed)
    model = build().load(arguments.model)
    ink, label = drawings(arguments.fonts, "held_out")
    for name, images in (("plain", plain(ink)), ("disturbed", disturbed(ink))):
        top1, top5 = accuracy(model, images, label)
        caseless, _ = accuracy(model, images, label, str.lower)
        print(json.dumps({"images": name, "count": len(label), "top1": top1, "top5": top5, "top1_caseless": caseless}))


@torch.no_grad()
def samples(arguments):
    """Writes FOLDER/LABEL.png for some characters of a font held out, and FOLDER.json: logits in double from the stored
    weights."""
    model, folder = build().load(arguments.model).double(), pathlib.Path(arguments.folder)
    folder.mkdir(exist_ok=True)
    font = list(np.load(arguments.fonts)["held_out_names"]).index(arguments.font)
    ink, _ = drawings(arguments.fonts, "held_out")
    answers = {}
    for label in SAMPLES:
        image = plain(ink[None, font * len(LABELS) + LABELS.index(label)])
        Image.fromarray((image[0, 0] * 255).round().byte().numpy()).save(folder / (label + ".png"))
        logits = model(normalise(image.double()))[0]
        p, best = logits.softmax(0).topk(5)
        answers[label] = {"top5": [LABELS[i] for i in best], "p": p.tolist(), "logits": logits.tolist()}
    folder.with_suffix(".json").write_text(json.dumps(answers, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = {name: verbs.add_parser(name) for name in ("render", "train", "eval", "samples")}
    for each in verb.values():
        each.add_argument("fonts")
    verb["render"].add_argument("folders", nargs="+")
    verb["render"].add_argument("--held-out", nargs="+", required=True)
    for name in ("train", "eval", "samples"):
        verb[name].add_argument("model")
        verb[name].add_argument("--seed", type=int, default=0)
    verb["train"].add_argument("--steps", type=int, default=4000)
    verb["train"].add_argument("--batch", type=int, default=1024)
    verb["train"].add_argument("--rate", type=float, default=3e-3)
    verb["samples"].add_argument("folder")
    verb["samples"].add_argument("--font", default="Go-Regular")
    arguments = parser.parse_args()
    {"render": render, "train": train, "eval": evaluate, "samples": samples}[arguments.verb](arguments)


if __name__ == "__main__":
    main()
