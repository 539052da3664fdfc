package ort

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ops"
)

// The names at the edge of a stateful model.
const (
	tokenInput    = "input_ids"
	positionInput = "position"
	logitsOutput  = "logits"
	pastPrefix    = "past_"
	presentPrefix = "present_"
	capacityAxis  = "capacity"
	positionsKey  = "io.aftonnx.positions"
	wantStateful  = "want a model of \"aftonnx export --stateful\""
)

// piece is a part of the states: of all sequences, one after the other.
type piece struct {
	name          string // behind past_ and present_
	past, present *Tensor
	input, output int    // where they stand among the model's inputs and outputs
	caches        bool   // its second dimension is the capacity
	empty         []byte // what an element is where there is no token
}

// row is the bytes of sequence i.
func (p *piece) row(t *Tensor, i int) []byte {
	n := len(t.Data) / t.Shape[0]
	return t.Data[i*n : (i+1)*n]
}

// clear makes elements those of an empty state.
func (p *piece) clear(data []byte) {
	for n := copy(data, p.empty); n > 0 && n < len(data); n *= 2 {
		copy(data[n:], data[:n])
	}
}

// shape is that of all sequences with a capacity.
func (p *piece) shape(capacity int) []int {
	shape := slices.Clone(p.past.Shape)
	if p.caches {
		shape[1] = capacity
	}
	return shape
}

// emptyElement is what a part of a state holds where there is no token.
func emptyElement(name string, dtype DType) ([]byte, error) {
	value := 0.0
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "m":
		value = ops.EmptyMax
	case "keys":
		value = ops.EmptyKey(dtype)
	}
	t, err := tensor.FromFloat64s(dtype, nil, []float64{value})
	if err != nil {
		return nil, err
	}
	return t.Data, nil
}

// examine reads what the session says of its model, and makes what does not depend on the capacity.
func (d *Decoder) examine() error {
	inputs, outputs := d.session.inputs, d.session.outputs
	ids, at, logits := find(inputs, tokenInput), find(inputs, positionInput), find(outputs, logitsOutput)
	switch {
	case ids < 0 || inputs[ids].DType != Int64 || len(inputs[ids].Dims) != 2 || inputs[ids].Dims[1].Size >= 0:
		return fmt.Errorf("the model takes no %s int64 (batch,sequence): %s", tokenInput, wantStateful)
	case at < 0 || inputs[at].DType != Int64 || len(inputs[at].Dims) != 1:
		return fmt.Errorf("the model takes no %s int64 (batch): %s", positionInput, wantStateful)
	case logits < 0 || !outputs[logits].DType.IsFloat() || len(outputs[logits].Dims) != 3 || outputs[logits].Dims[2].Size < 1:
		return fmt.Errorf("the model gives no %s (batch,sequence,tokens) of a known number of tokens: %s", logitsOutput, wantStateful)
	}
	n := d.options.Sequences
	for _, v := range inputs {
		if len(v.Dims) > 0 && v.Dims[0].Size >= 0 && v.Dims[0].Size != n {
			return fmt.Errorf("the model takes %s, which is made for %d sequences, want %d", v, v.Dims[0].Size, n)
		}
	}
	for i, v := range inputs {
		if i == ids || i == at {
			continue
		}
		if err := d.examineState(i, v); err != nil {
			return err
		}
	}
	if len(d.pieces) == 0 {
		return fmt.Errorf("the model has no state, no input %s...: %s", pastPrefix, wantStateful)
	}
	d.vocab = outputs[logits].Dims[2].Size
	d.position = make([]int64, n)
	d.ids, d.logits = &Tensor{DType: Int64}, &Tensor{DType: outputs[logits].DType}
	d.at = &Tensor{DType: Int64}
	d.next = request{inputs: make([]*Tensor, len(inputs)), outputs: make([]*Tensor, len(outputs))}
	d.next.inputs[ids], d.next.inputs[at], d.next.outputs[logits] = d.ids, d.at, d.logits
	if err := resize(d.at, n); err != nil {
		return err
	}
	d.form = d.describe()
	return d.readPositions()
}

func find(values []Value, name string) int {
	return slices.IndexFunc(values, func(v Value) bool { return v.Name == name })
}

// examineState takes an input that is neither tokens nor positions for a part of the state; its buffers are yet to be made.
func (d *Decoder) examineState(input int, v Value) error {
	name, ok := strings.CutPrefix(v.Name, pastPrefix)
	if !ok {
		return fmt.Errorf("the model takes %s beside its state: %s", v, wantStateful)
	}
	outputs := d.session.outputs
	output := find(outputs, presentPrefix+name)
	if output < 0 {
		return fmt.Errorf("the model takes %s and gives no %s%s: %s", v, presentPrefix, name, wantStateful)
	}
	if len(v.Dims) == 0 {
		return fmt.Errorf("state %s: has no dimension for the batch", v)
	}
	present := outputs[output]
	same := present.DType == v.DType && len(present.Dims) == len(v.Dims)
	for axis := 1; same && axis < len(v.Dims); axis++ {
		same = present.Dims[axis].Size == v.Dims[axis].Size
	}
	if !same {
		return fmt.Errorf("the model takes %s and gives %s, which is not like it: %s", v, present, wantStateful)
	}
	p := &piece{name: name, input: input, output: output}
	shape := make([]int, len(v.Dims))
	for axis, dim := range v.Dims {
		switch {
		case axis == 0:
			shape[axis] = d.options.Sequences
		case dim.Size >= 0:
			shape[axis] = dim.Size
		case axis == 1 && dim.Name == capacityAxis:
			p.caches = true
		default:
			return fmt.Errorf("state %s: dimension %d is open, want only its first to be, and a cache's second, named %s", v, axis, capacityAxis)
		}
	}
	empty, err := emptyElement(name, v.DType)
	if err != nil {
		return fmt.Errorf("state %s: %w", v, err)
	}
	p.empty, p.past = empty, &Tensor{DType: v.DType, Shape: shape}
	d.pieces = append(d.pieces, p)
	return nil
}

// describe is the form of a state: capacity and batch left out.
func (d *Decoder) describe() string {
	var b strings.Builder
	for i, p := range d.pieces {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", p.name, p.past.DType)
		for axis, size := range p.past.Shape[1:] {
			if axis > 0 || !p.caches {
				fmt.Fprintf(&b, " %d", size)
			}
		}
	}
	return b.String()
}

// readPositions reads where the model's positions end.
func (d *Decoder) readPositions() error {
	text, ok, err := d.session.Metadata(positionsKey)
	if err != nil || !ok {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("metadata %q: is %q, want a number of positions", positionsKey, text)
	}
	d.positions = n
	return nil
}

// resize gives a tensor another shape, in the memory it has if that will do. What it holds then is anything.
func resize(t *Tensor, shape ...int) error {
	if tensor.SameShape(t.Shape, shape) {
		return nil
	}
	n, err := tensor.ByteLen(t.DType, shape)
	if err != nil {
		return err
	}
	if n > cap(t.Data) {
		t.Data = make([]byte, n)
	}
	t.Shape, t.Data = append(t.Shape[:0], shape...), t.Data[:n]
	return nil
}

// allocate makes the buffers that a capacity needs and that are not there, empty but for what the sequences have. After an error
// all is as it was.
func (d *Decoder) allocate(capacity int) error {
	type pair struct{ past, present *Tensor }
	fresh := make([]pair, len(d.pieces))
	for i, p := range d.pieces {
		if !p.caches && p.present != nil {
			continue
		}
		var err error
		if fresh[i].past, err = tensor.New(p.past.DType, p.shape(capacity)); err == nil {
			fresh[i].present, err = tensor.New(p.past.DType, p.shape(capacity))
		}
		if err != nil {
			return fmt.Errorf("state %q: %w", p.name, err)
		}
	}
	for i, p := range d.pieces {
		if fresh[i].past == nil {
			continue
		}
		old := p.past
		p.past, p.present = fresh[i].past, fresh[i].present
		for b := range d.position {
			row := p.row(p.past, b)
			p.clear(row[copy(row, p.row(old, b)):])
		}
	}
	d.capacity = capacity
	return nil
}

// grow makes room in the caches for so many tokens.
func (d *Decoder) grow(tokens int) error {
	if tokens <= d.capacity || !slices.ContainsFunc(d.pieces, func(p *piece) bool { return p.caches }) {
		return nil
	}
	capacity := max(tokens, 2*d.capacity)
	if d.positions > 0 {
		capacity = min(capacity, max(d.positions, tokens))
	}
	return d.allocate(capacity)
}
