package onnxgraph

import (
	"fmt"

	onnx "github.com/owulveryck/onnx-go"
	"gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/iterator"
)

// backend is the graph that onnx-go decodes a topology into. onnx-go makes one vertex for a value, not for an operator,
// and leads an edge from every output of an operator to every one of its inputs, weighted with the input's position.
//
// What there is to know of onnx-go v0.5.0:
//   - Vertices that are no onnx.DataCarrier get no tensors: all that concerns shapes, types and data is skipped.
//   - ApplyOperation is called once for a node, after its edges are set, with the vertices of all of its outputs in
//     order: a Split into two gives two vertices, each with an edge to the same input.
//   - An operand used twice, as in Add(x, x), gives two edges between the same vertices that differ in weight; a graph
//     that keeps one edge for a pair would lose the first.
//   - A node without inputs gets an invented one, named after the node with "/input" behind it.
//   - A symbolic dimension shrinks the rank, bool data is read 8 bytes an element, an empty name is a value like any
//     other, and an attribute without the value its type promises is a nil dereference. It never sees a file, only the
//     topology that this package wrote.
type backend struct {
	vertices []*vertex
	applied  []applied
}

// vertex is a value.
type vertex struct {
	id        int64
	name      string
	operands  []edge // to the inputs of the operator that computes it
	consumers []edge // from the values computed from it
}

// ID, SetName and GetName make a vertex a graph.Node and an onnx.Namer.
func (v *vertex) ID() int64           { return v.id }
func (v *vertex) SetName(name string) { v.name = name }
func (v *vertex) GetName() string     { return v.name }

// edge leads from an output to one of its inputs.
type edge struct {
	from, to *vertex
	position float64
}

func (e edge) From() graph.Node { return e.from }
func (e edge) To() graph.Node   { return e.to }

// ReversedEdge gives the edge back as it is: the direction means something.
func (e edge) ReversedEdge() graph.Edge { return e }
func (e edge) Weight() float64          { return e.position }

// applied is one call of ApplyOperation.
type applied struct {
	index   int // of the node, from the attribute that the topology carries
	outputs []*vertex
}

// indexAttribute carries a node's place in Model.nodes through onnx-go.
const indexAttribute = "index"

// ApplyOperation records the operator that computes the outputs.
func (b *backend) ApplyOperation(op onnx.Operation, outputs ...graph.Node) error {
	index, ok := op.Attributes[indexAttribute].(int64)
	if !ok {
		return fmt.Errorf("operation %q came without its index", op.Name)
	}
	a := applied{index: int(index)}
	for _, n := range outputs {
		v := b.vertex(n.ID())
		if v == nil {
			return fmt.Errorf("operation %d has an output that is not in the graph", index)
		}
		a.outputs = append(a.outputs, v)
	}
	b.applied = append(b.applied, a)
	return nil
}

func (b *backend) vertex(id int64) *vertex {
	if id < 0 || id >= int64(len(b.vertices)) {
		return nil
	}
	return b.vertices[id]
}

// NewNode returns a vertex that is not yet in the graph.
func (b *backend) NewNode() graph.Node { return &vertex{id: int64(len(b.vertices))} }

// AddNode adds a vertex made by NewNode.
func (b *backend) AddNode(n graph.Node) {
	if v, ok := n.(*vertex); ok {
		b.vertices = append(b.vertices, v)
	}
}

// NewWeightedEdge returns an edge that is not yet in the graph.
func (b *backend) NewWeightedEdge(from, to graph.Node, weight float64) graph.WeightedEdge {
	return edge{from: b.vertex(from.ID()), to: b.vertex(to.ID()), position: weight}
}

// SetWeightedEdge adds an edge, also between vertices that have one already.
func (b *backend) SetWeightedEdge(e graph.WeightedEdge) {
	if e, ok := e.(edge); ok && e.from != nil && e.to != nil {
		e.from.operands = append(e.from.operands, e)
		e.to.consumers = append(e.to.consumers, e)
	}
}

// Node, Nodes, From, To, Edge, HasEdgeBetween and HasEdgeFromTo make a backend a graph.Directed.

// Node returns the vertex of that number, nil when there is none.
func (b *backend) Node(id int64) graph.Node {
	if v := b.vertex(id); v != nil {
		return v
	}
	return nil
}

// Nodes returns all vertices.
func (b *backend) Nodes() graph.Nodes {
	nodes := make([]graph.Node, len(b.vertices))
	for i, v := range b.vertices {
		nodes[i] = v
	}
	return iterator.NewOrderedNodes(nodes)
}

// From returns the inputs of the operator that computes a value.
func (b *backend) From(id int64) graph.Nodes {
	v := b.vertex(id)
	if v == nil {
		return graph.Empty
	}
	return ends(v.operands, func(e edge) *vertex { return e.to })
}

// To returns the values computed from a value.
func (b *backend) To(id int64) graph.Nodes {
	v := b.vertex(id)
	if v == nil {
		return graph.Empty
	}
	return ends(v.consumers, func(e edge) *vertex { return e.from })
}

// ends lists the vertices at one end of the edges, each once.
func ends(edges []edge, end func(edge) *vertex) graph.Nodes {
	var nodes []graph.Node
	seen := map[int64]bool{}
	for _, e := range edges {
		if v := end(e); !seen[v.id] {
			seen[v.id] = true
			nodes = append(nodes, v)
		}
	}
	return iterator.NewOrderedNodes(nodes)
}

// Edge returns the first edge from an output to an input, nil when there is none.
func (b *backend) Edge(from, to int64) graph.Edge {
	if v := b.vertex(from); v != nil {
		for _, e := range v.operands {
			if e.to.id == to {
				return e
			}
		}
	}
	return nil
}

// HasEdgeFromTo reports whether one value is computed directly from another.
func (b *backend) HasEdgeFromTo(from, to int64) bool { return b.Edge(from, to) != nil }

// HasEdgeBetween reports the same in either direction.
func (b *backend) HasEdgeBetween(x, y int64) bool {
	return b.HasEdgeFromTo(x, y) || b.HasEdgeFromTo(y, x)
}
