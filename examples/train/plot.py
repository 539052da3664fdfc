#!/usr/bin/env python3
"""Draws the loss curves gocode.py wrote as an SVG: bits per byte of held-out text over steps.

    python3 plot.py curves/local.csv curves/simple.csv curves/attention.csv > curve.svg
"""
import csv
import pathlib
import sys

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 360, 52, 16, 108, 44
LOW, HIGH = 1.2, 2.4  # bits per byte shown
COLOURS = ("#0072b2", "#d55e00", "#555555")


def main(paths):
    curves = {pathlib.Path(path).stem: [(int(row["step"]), float(row["held_out"])) for row in csv.DictReader(open(path))]
              for path in paths}
    last = max(step for curve in curves.values() for step, _ in curve)

    def x(step):
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(bits):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (bits - LOW) / (HIGH - LOW)

    print('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT))
    print('<rect width="100%" height="100%" fill="white"/>')
    for i in range(7):
        bits = LOW + (HIGH - LOW) * i / 6
        print('<path d="M%d %.1fH%d" stroke="#dddddd"/>' % (LEFT, y(bits), WIDTH - RIGHT))
        print('<text x="%d" y="%.1f" text-anchor="end">%.1f</text>' % (LEFT - 6, y(bits) + 4, bits))
    for step in range(0, last + 1, last // 4):
        print('<text x="%.1f" y="%d" text-anchor="middle">%d</text>' % (x(step), HEIGHT - BOTTOM + 18, step))
    print('<text x="%d" y="%d" text-anchor="middle">step</text>' % ((LEFT + WIDTH - RIGHT) // 2, HEIGHT - 8))
    print('<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">bits per byte, held out</text>' % (HEIGHT // 2))
    for colour, (name, curve) in zip(COLOURS, curves.items()):
        points = " ".join("%.1f,%.1f" % (x(step), y(bits)) for step, bits in curve if bits <= HIGH)
        print('<polyline points="%s" fill="none" stroke="%s" stroke-width="1.8"/>' % (points, colour))
        step, bits = curve[-1]
        print('<text x="%.1f" y="%.1f" fill="%s">%s %.2f</text>' % (x(step) + 6, y(bits) + 4, colour, name, bits))
    print("</svg>")


if __name__ == "__main__":
    main(sys.argv[1:])
