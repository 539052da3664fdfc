package task

import (
	"image"
	"math"
)

// centred is the largest rectangle in the middle of a picture that has the shape of height x width: what is left of it when
// the longer sides are cut off.
func centred(bounds image.Rectangle, height, width int) image.Rectangle {
	h, w := bounds.Dy(), bounds.Dx()
	if fit := int(math.Round(float64(h) * float64(width) / float64(height))); fit < w {
		w = max(1, fit)
	} else if fit := int(math.Round(float64(w) * float64(height) / float64(width))); fit < h {
		h = max(1, fit)
	}
	left, top := bounds.Min.X+(bounds.Dx()-w)/2, bounds.Min.Y+(bounds.Dy()-h)/2
	return image.Rect(left, top, left+w, top+h)
}

// tap is what one new pixel is made of: weights of old pixels from first on, whose sum is 1.
type tap struct {
	first   int
	weights []float64
}

// taps scale a line by bilinear interpolation; where it becomes shorter, every pixel that a new one covers counts. New pixel i
// weighs old pixel j by a triangle around the place that it covers,
//
//	max(0, 1 - |(j + 1/2) - (i + 1/2) s| / max(1, s)),  s = old length / new length,
//
// divided by the sum of these weights.
func taps(before, after int) []tap {
	scale := float64(before) / float64(after)
	reach := max(1, scale)
	list := make([]tap, after)
	for i := range list {
		centre := (float64(i) + 0.5) * scale
		first, end := max(0, int(math.Floor(centre-reach))), min(before, int(math.Ceil(centre+reach)))
		weights, sum := make([]float64, end-first), 0.0
		for j := range weights {
			weights[j] = max(0, 1-math.Abs(float64(first+j)+0.5-centre)/reach)
			sum += weights[j]
		}
		for j := range weights {
			weights[j] /= sum
		}
		list[i] = tap{first, weights}
	}
	return list
}

// scaled gives the channels of a part of a picture, each height rows of width numbers 0..1. Rows are scaled as they are read,
// so that memory grows with the new width and not with the old one.
func scaled(picture image.Image, part image.Rectangle, channels, height, width int) [][]float64 {
	line, rows := make([][]float64, channels), make([][]float64, channels)
	for c := range line {
		line[c] = make([]float64, part.Dx())
		rows[c] = make([]float64, 0, part.Dy()*width)
	}
	across := taps(part.Dx(), width)
	for y := part.Min.Y; y < part.Max.Y; y++ {
		readRow(picture, part, y, line)
		for c := range rows {
			for _, t := range across {
				rows[c] = append(rows[c], dot(t.weights, line[c][t.first:]))
			}
		}
	}
	down := taps(part.Dy(), height)
	for c, old := range rows {
		rows[c] = make([]float64, height*width)
		for i, t := range down {
			for j, weight := range t.weights {
				for x, v := range old[(t.first+j)*width : (t.first+j+1)*width] {
					rows[c][i*width+x] += weight * v
				}
			}
		}
	}
	return rows
}

func dot(weights, values []float64) float64 {
	sum := 0.0
	for i, w := range weights {
		sum += w * values[i]
	}
	return sum
}
