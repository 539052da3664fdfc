package onnxgraph

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"strconv"

	onnx "github.com/owulveryck/onnx-go"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// step is one node in the order of execution, with the operands that the decoded graph gives it.
type step struct {
	node   *node
	inputs []string // as node.inputs: "" where an optional input is left out
}

// plan has onnx-go decode the model's topology and orders the resulting graph.
func plan(m *Model) ([]step, error) {
	if len(m.nodes) == 0 {
		return nil, nil // every output is an input or an initialiser; onnx-go refuses a graph without nodes
	}
	t := newTopology(m)
	data, err := onnxpb.Encode(t.proto)
	if err != nil {
		return nil, fromProtobuf(err)
	}
	b := &backend{}
	if err := decodeTopology(b, data); err != nil {
		return nil, &Error{Found: "onnx-go cannot decode the model's topology: " + err.Error(), cause: err}
	}
	return t.order(b)
}

// decodeTopology turns a panic inside onnx-go into an error.
func decodeTopology(b *backend, data []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return onnx.NewModel(b).UnmarshalBinary(data)
}

// topology is the model as onnx-go can take it: every value renamed to a number, all sources as inputs, no data, no
// types, no empty names, no output that is an input, and of the attributes only the node's index.
//
// Initialisers go in as inputs because onnx-go searches all inputs for every initialiser.
type topology struct {
	model   *Model
	proto   *onnxpb.ModelProto
	numbers map[string]string // by the value's name
	names   map[string]string // the inverse
}

func newTopology(m *Model) *topology {
	t := &topology{model: m, numbers: map[string]string{}, names: map[string]string{}}
	g := &onnxpb.GraphProto{Name: "topology"}
	for _, v := range m.inputs {
		g.Input = append(g.Input, &onnxpb.ValueInfoProto{Name: t.number(v.Name)})
	}
	for _, name := range sorted(m.consts) {
		g.Input = append(g.Input, &onnxpb.ValueInfoProto{Name: t.number(name)})
	}
	for _, n := range m.nodes {
		p := &onnxpb.NodeProto{Name: "n" + strconv.Itoa(n.index), OpType: n.op,
			Attribute: []*onnxpb.AttributeProto{onnxpb.IntAttr(indexAttribute, int64(n.index))}}
		for _, name := range n.inputs {
			if name != "" {
				p.Input = append(p.Input, t.number(name))
			}
		}
		for _, name := range n.outputs {
			p.Output = append(p.Output, t.number(name))
		}
		g.Node = append(g.Node, p)
	}
	g.Output = t.outputs()
	t.proto = &onnxpb.ModelProto{IrVersion: 8, Graph: g}
	return t
}

// outputs lists the graph outputs that nodes compute. onnx-go wants at least one, and any will do.
func (t *topology) outputs() []*onnxpb.ValueInfoProto {
	sources := map[string]bool{}
	for _, v := range t.model.inputs {
		sources[v.Name] = true
	}
	for name := range t.model.consts {
		sources[name] = true
	}
	var outputs []*onnxpb.ValueInfoProto
	for _, v := range t.model.outputs {
		if !sources[v.Name] {
			outputs = append(outputs, &onnxpb.ValueInfoProto{Name: t.number(v.Name)})
		}
	}
	if len(outputs) == 0 {
		outputs = append(outputs, &onnxpb.ValueInfoProto{Name: t.number(t.model.nodes[0].outputs[0])})
	}
	return outputs
}

func (t *topology) number(name string) string {
	n, ok := t.numbers[name]
	if !ok {
		n = "v" + strconv.Itoa(len(t.numbers))
		t.numbers[name] = n
		t.names[n] = name
	}
	return n
}

// order sorts the operations so that each comes after what it needs, in the file's order where that leaves a choice.
// Operands come from the graph's edges and are held against the file's.
func (t *topology) order(b *backend) ([]step, error) {
	producer, steps := map[*vertex]int{}, make([]step, len(t.model.nodes))
	for _, a := range b.applied {
		if a.index < 0 || a.index >= len(steps) || steps[a.index].node != nil {
			return nil, &Error{Found: fmt.Sprintf("onnx-go applied operation %d out of turn", a.index)}
		}
		s, err := t.step(a)
		if err != nil {
			return nil, within(t.model.nodes[a.index].place(), err)
		}
		steps[a.index] = s
		for _, v := range a.outputs {
			producer[v] = a.index
		}
	}
	if len(b.applied) != len(steps) {
		return nil, &Error{Found: fmt.Sprintf("onnx-go applied %d of %d operations", len(b.applied), len(steps))}
	}
	return kahn(b, producer, steps)
}

// step reads one operation back from the graph.
func (t *topology) step(a applied) (step, error) {
	n := t.model.nodes[a.index]
	edges := slices.Clone(a.outputs[0].operands)
	slices.SortStableFunc(edges, func(x, y edge) int { return cmp.Compare(x.position, y.position) })
	var operands []string
	for _, e := range edges {
		if name, ok := t.names[e.to.name]; ok { // else it is the input invented for a node without any
			operands = append(operands, name)
		}
	}
	s, next := step{node: n, inputs: make([]string, len(n.inputs))}, 0
	for i, name := range n.inputs {
		if name == "" {
			continue
		}
		if next >= len(operands) || operands[next] != name {
			return s, &Error{Found: "onnx-go read other operands", Allowed: list(n.inputs)}
		}
		s.inputs[i] = operands[next]
		next++
	}
	if next != len(operands) || len(a.outputs) != len(n.outputs) {
		return s, &Error{Found: "onnx-go read other operands", Allowed: list(n.inputs)}
	}
	for i, v := range a.outputs {
		if t.names[v.name] != n.outputs[i] {
			return s, &Error{Found: "onnx-go read other outputs", Allowed: list(n.outputs)}
		}
	}
	return s, nil
}

// kahn is Kahn's topological sort over the operations, taking the lowest index that is ready.
func kahn(b *backend, producer map[*vertex]int, steps []step) ([]step, error) {
	waits, ready := make([]int, len(steps)), &indexHeap{}
	for _, a := range b.applied {
		for _, e := range a.outputs[0].operands {
			if _, ok := producer[e.to]; ok {
				waits[a.index]++
			}
		}
		if waits[a.index] == 0 {
			heap.Push(ready, a.index)
		}
	}
	byIndex := make([]applied, len(steps))
	for _, a := range b.applied {
		byIndex[a.index] = a
	}
	var order []step
	for ready.Len() > 0 {
		i := heap.Pop(ready).(int)
		order = append(order, steps[i])
		for _, v := range byIndex[i].outputs {
			for _, e := range v.consumers {
				consumer := producer[e.from]
				if byIndex[consumer].outputs[0] != e.from {
					continue // every output of an operation has the same edges: count one of them
				}
				if waits[consumer]--; waits[consumer] == 0 {
					heap.Push(ready, consumer)
				}
			}
		}
	}
	if len(order) != len(steps) {
		return nil, &Error{Found: fmt.Sprintf("the graph has a cycle: %d of %d nodes can be ordered", len(order),
			len(steps))}
	}
	return order, nil
}

// indexHeap is a min-heap of node indices.
type indexHeap []int

func (h indexHeap) Len() int           { return len(h) }
func (h indexHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h indexHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *indexHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *indexHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
