package infer

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/task"
	"github.com/aftonnx/aftonnx/verify"
)

// Ports are the inputs and outputs of the ONNX model.
func (m *Model) Ports() task.Ports {
	convert := func(values []onnxgraph.Value) (ports []task.Port) {
		for _, v := range values {
			ports = append(ports, task.Port(v))
		}
		return ports
	}
	return task.Ports{Inputs: convert(m.Graph.Inputs()), Outputs: convert(m.Graph.Outputs())}
}

// MaxLen is the longest sequence that the model's biases and position embeddings reach, 0 when any will do or it is not known.
func (m *Model) MaxLen() int { return verify.LongestSequence(m.Graph) }

// ImageFacts are what an image model wants of a picture: what it says of itself in its metadata, the size of its patches, and
// where its position embeddings leave one square alone, the size of that.
func (m *Model) ImageFacts() (task.ImageFacts, error) {
	var f task.ImageFacts
	size, err1 := m.numbers("image_size")
	mean, err2 := m.numbers("mean")
	std, err3 := m.numbers("std")
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return f, err
		}
	}
	f.Mean, f.Std = mean, std
	if text := m.Metadata("labels"); text != "" {
		f.Labels = strings.Split(text, "\n")
	}
	if patch := m.weightShape("patch.weight"); len(patch) == 4 {
		f.Patch = int(patch[2])
	}
	if size != nil {
		if len(size) != 2 || size[0] != math.Trunc(size[0]) || size[1] != math.Trunc(size[1]) ||
			!(size[0] >= 1) || !(size[1] >= 1) || size[0] > math.MaxInt32 || size[1] > math.MaxInt32 {
			return f, fmt.Errorf("metadata %q is %v, want height,width", "image_size", size)
		}
		f.Size = [2]int{int(size[0]), int(size[1])}
		return f, nil
	}
	f.Size = m.squareSize(f.Patch)
	return f, nil
}

// squareSize is the size of the square picture that has as many patches as there are position embeddings, zero if none has.
func (m *Model) squareSize(patch int) [2]int {
	positions := m.weightShape("positions.weight")
	if len(positions) != 2 || patch == 0 {
		return [2]int{}
	}
	places := positions[0]
	if m.weightShape("class_token") != nil {
		places--
	}
	side := int64(math.Round(math.Sqrt(float64(max(0, places)))))
	if side < 1 || side*side != places || side > math.MaxInt32/int64(patch) {
		return [2]int{}
	}
	return [2]int{int(side) * patch, int(side) * patch}
}

// numbers reads a list in the metadata, nil where there is none.
func (m *Model) numbers(key string) ([]float64, error) {
	text := m.Metadata(key)
	if text == "" {
		return nil, nil
	}
	var list []float64
	for _, part := range strings.Split(text, ",") {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return nil, fmt.Errorf("metadata %q is %q, want numbers between commas", key, text)
		}
		list = append(list, v)
	}
	return list, nil
}
