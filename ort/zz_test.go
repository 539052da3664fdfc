//go:build cgo

package ort_test
import ("testing";"fmt";"context"
"github.com/aftonnx/aftonnx/internal/tensor"
"github.com/aftonnx/aftonnx/internal/onnxpb"
"github.com/aftonnx/aftonnx/ort")
func TestZZ(t *testing.T) {
	rt := open(t)
	c := all(t, tensor.Float32)["AFTSimple"]
	for _, a := range [][]*onnxpb.AttributeProto{c.attrs[:1], append(c.attrs[:1:1], intsAttr("gate",1,2)), append(c.attrs[:2:2], intAttr("foo",1))} {
	m, _ := aftModel("AFTSimple", a, c.inputs)
	_, err := rt.LoadBytes(encode(t, m), ort.SessionOptions{})
	fmt.Println(err)
	}
	c = all(t, tensor.Float32)["AFTConv2D"]
	m, _ := aftModel("AFTConv2D", append(c.attrs[:2:2], intAttr("pads",1)), c.inputs)
	_, err := rt.LoadBytes(encode(t, m), ort.SessionOptions{})
	fmt.Println(err)
	m,f := aftModel("AFTSimple", all(t, tensor.Float32)["AFTSimple"].attrs, []*ort.Tensor{ramp(t,tensor.Float32,1,4,2),ramp(t,tensor.Float32,1,4,2),ramp(t,tensor.Float32,1,4,2)})
	s := load(t, rt, m, ort.SessionOptions{})
	_, err = s.Run(context.Background(), f)
	fmt.Println(err)
	m2 := simple(tensor.Float32)
	m2.Graph.Node[0].Input[1] = ""
	s, err = rt.LoadBytes(encode(t, m2), ort.SessionOptions{})
	fmt.Println(err)
	if err == nil { _, err = s.Run(context.Background(), qkv(t, tensor.Float32, 1, 2, 2)); fmt.Println(err) }
	m2 = simple(tensor.Float32)
	m2.OpsetImport[1].Version = 2
	s, err = rt.LoadBytes(encode(t, m2), ort.SessionOptions{})
	fmt.Println("v2", err)
	m2 = simple(tensor.Float32)
	m2.OpsetImport = m2.OpsetImport[:1]
	s, err = rt.LoadBytes(encode(t, m2), ort.SessionOptions{})
	fmt.Println("no import", err)
	_, err = rt.Load("/etc/passwd", ort.SessionOptions{})
	fmt.Println(err)
	r3, err := ort.Open(context.Background(), ort.Options{Library:"/etc/passwd"})
	fmt.Println(r3,err)
}
