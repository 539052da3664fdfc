package ops

import (
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// functionText writes a function as readable lines, "y = Op(a, [1 2]) axis=0". Constants stand where they are used.
func functionText(f *onnxpb.FunctionProto) (string, error) {
	var s strings.Builder
	fmt.Fprintf(&s, "%s.%s<%s>(%s) opset %d\n\n", f.Domain, f.Name,
		strings.Join(f.Attribute, ", "), strings.Join(f.Input, ", "), f.OpsetImport[0].Version)
	literals := map[string]string{}
	for _, n := range f.Node {
		attrs, err := attributeTexts(n)
		if err != nil {
			return "", err
		}
		if n.OpType == "Constant" {
			_, literals[n.Output[0]], _ = strings.Cut(attrs[0], "=")
			continue
		}
		inputs := make([]string, len(n.Input))
		for i, name := range n.Input {
			inputs[i] = name
			if literal, ok := literals[name]; ok {
				inputs[i] = literal
			}
		}
		line := fmt.Sprintf("%s = %s(%s) %s", n.Output[0], n.OpType, strings.Join(inputs, ", "), strings.Join(attrs, " "))
		s.WriteString(strings.TrimSpace(line) + "\n")
	}
	return s.String(), nil
}

func attributeTexts(n *onnxpb.NodeProto) ([]string, error) {
	texts := make([]string, len(n.Attribute))
	for i, a := range n.Attribute {
		value, err := attributeText(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.OpType, err)
		}
		texts[i] = a.Name + "=" + value
	}
	return texts, nil
}

func attributeText(a *onnxpb.AttributeProto) (string, error) {
	switch {
	case a.RefAttrName != "":
		return "@" + a.RefAttrName, nil
	case a.Type == onnxpb.AttributeProto_INT:
		return fmt.Sprint(a.GetI()), nil
	case a.Type == onnxpb.AttributeProto_INTS:
		return fmt.Sprint(a.Ints), nil
	case a.Type == onnxpb.AttributeProto_STRING:
		return string(a.S), nil
	case a.Type == onnxpb.AttributeProto_TENSOR:
		t, err := onnxpb.TensorFromProto(a.T)
		if err != nil {
			return "", err
		}
		return tensorText(t), nil
	}
	return "", fmt.Errorf("attribute %q has type %s", a.Name, a.Type)
}

// tensorText is "[1 2]" for int64 vectors and "float32(0.5)" for numbers.
func tensorText(t *tensor.Tensor) string {
	values := t.Float64s()
	switch {
	case len(t.Shape) == 1 && t.DType == tensor.Int64:
		return fmt.Sprint(values)
	case len(t.Shape) == 0:
		return fmt.Sprintf("%s(%g)", t.DType, values[0])
	}
	return fmt.Sprintf("%s%s%v", t.DType, tensor.FormatShape(t.Shape), values)
}
