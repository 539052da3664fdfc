package ops

import (
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// Markdown is the reference page of one operator: its formula, inputs, output and attributes.
func (d *Def) Markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "## %s\n\n%s.\n\n```text\n%s\n```\n\n", d.Name, d.Summary, d.Doc)
	s.WriteString("| port | type | shape | |\n| --- | --- | --- | --- |\n")
	for _, p := range d.Inputs {
		s.WriteString(p.markdown("input"))
	}
	for _, p := range d.Outputs {
		s.WriteString(p.markdown("output"))
	}
	s.WriteString("\n| attribute | type | |\n| --- | --- | --- |\n")
	for _, a := range d.Attrs {
		fmt.Fprintf(&s, "| `%s` | %s | %s |\n", a.Name, a.typeName(), a.Doc)
	}
	return s.String()
}

func (p Port) markdown(kind string) string {
	return fmt.Sprintf("| %s `%s` | %s | (%s) | %s |\n", kind, p.Name, p.Type, strings.Join(p.Dims, ", "), p.Doc)
}

func (a Attr) typeName() string {
	if a.Len == 0 {
		return "INT"
	}
	return fmt.Sprintf("INTS, %d values", a.Len)
}

// Markdown is the reference page of the operator set: what holds for all operators, then each of them.
func Markdown() string {
	types := make([]string, 0, len(Types()))
	for _, t := range Types() {
		types = append(types, strings.ToLower(onnxpb.TensorProto_DataType(onnxpb.DataType(t)).String()))
	}
	var s strings.Builder
	fmt.Fprintf(&s, setPage, Domain, Version, strings.Join(types, ", "), MinOpset, MaxOpset)
	for _, d := range All() {
		s.WriteString("\n" + d.Markdown())
	}
	return s.String()
}

// setPage is the part of the page that holds for every operator.
const setPage = `<!-- Generated from the declarations in this folder by "go generate ./ops": do not edit. -->
# Operators of the domain %s, version %d

T1 is one of %s, the same for all T1 ports of a node. Tensors are row-major. Letters: B batch,
T query positions, S source positions, D channels, H heads. A letter means the same size wherever it stands; nothing
broadcasts. Every attribute is written on every node.

- **Masks.** There is no mask input. K = -inf removes a source position, W = -inf a pair of positions. A row with nothing
  left is 0 before the gate.
- **Not a number.** NaN or +Inf in K or V may spoil that channel (a convolution: that head) of that batch entry, in W that
  row (a convolution: that head), nothing else. NaN never becomes a number.
- **Any magnitude.** A kernel's result is the log-sum-exp truth whatever finite K and W are.
- **float16** is computed in float and rounded once.
- **Empty.** B = 0 or T = 0 give an empty result.

Each operator comes with a decomposition into the standard operators of opset %d to %d, a model-local function of the same
name. It has no sub-graphs and fails where a kernel fails. It keeps a kernel's accuracy while
(max K - min K) + (max W - min W) <= 80 in every batch entry, however low W is, and is finite beyond; where it takes
running sums in float (AFTSimple causal, AFTConv1D), T/8 units of 2^-23 max|V| come on top. Where K is -inf it needs V
finite. It depends on the runtime whether empty tensors pass.
`
