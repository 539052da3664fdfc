package bench

import (
	"context"
	"sync"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// floors adds what the floor is made of to the runners, and returns what makes its row of the times.
//
//   - copy: as many bytes as the operator must move, read and written by memcpy on as many threads;
//   - exp: as many exponentials as it needs, by ONNX Runtime's Exp;
//   - product: the sums' multiply-adds at the speed of ONNX Runtime's MatMul, of [T,T] with [T,D] up to T = 2048.
//
// The floor is the larger of copy + exp and product.
func (l *lab) floors() (func([]*runner) []Row, error) {
	row := Row{Case: l.c.Name(), Engine: Floor, DType: tensor.Float32.String()}
	copier := &runner{row: row, run: copyRun(int(l.c.bytes()/2), max(1, l.o.Threads))}
	exp, err := l.unary("Exp", int(l.c.exponentials()))
	if err != nil {
		return nil, err
	}
	l.list = append(l.list, copier, exp)
	var product *runner
	scale := 0.0
	if l.c.products() > 0 {
		n := min(l.c.T, 2048)
		if product, err = l.matmul(n, l.c.D); err != nil {
			return nil, err
		}
		scale = l.c.products() / (float64(n) * float64(n) * float64(l.c.D))
		l.list = append(l.list, product)
	}
	return func(list []*runner) []Row {
		base := list[0]
		moved, raised := copier.complete(base), exp.complete(base)
		total := combine(moved, raised, 1, 1)
		total.Graph = "memcpy + Exp"
		if product != nil {
			if p := combine(product.complete(base), Row{}, scale, 0); p.MedianMS > total.MedianMS {
				total = p
				total.Graph = "MatMul"
			}
		}
		total.GFLOPS = 2 * l.c.products() / total.MedianMS / 1e6
		total.GBS = l.c.bytes() / total.MedianMS / 1e6
		return []Row{total}
	}, nil
}

// combine is a row whose times are x times those of a and y times those of b.
func combine(a, b Row, x, y float64) Row {
	row := a
	row.MedianMS, row.BestMS = x*a.MedianMS+y*b.MedianMS, x*a.BestMS+y*b.BestMS
	row.Ratio = x*a.Ratio + y*b.Ratio
	for i := range row.Spread {
		row.Spread[i] = x*a.Spread[i] + y*b.Spread[i]
	}
	return row
}

// copyRun copies n bytes on that many threads.
func copyRun(n, threads int) func(context.Context) error {
	from, to := make([]byte, n), make([]byte, n)
	for i := range from {
		from[i] = byte(i)
	}
	return func(context.Context) error {
		var done sync.WaitGroup
		for i := range threads {
			done.Go(func() { copy(to[n*i/threads:n*(i+1)/threads], from[n*i/threads:n*(i+1)/threads]) })
		}
		done.Wait()
		return nil
	}
}

func (l *lab) unary(op string, n int) (*runner, error) {
	m := floorModel(onnxpb.Node(op, []string{"x"}, []string{"z"}), []int{n})
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%17) - 8
	}
	return l.floorRunner(m, []int{n}, x, []int{n})
}

func (l *lab) matmul(n, d int) (*runner, error) {
	m := floorModel(onnxpb.Node("MatMul", []string{"w", "x"}, []string{"z"}), []int{n, d})
	w := make([]float32, n*n)
	for i := range w {
		w[i] = float32(i%13) / 13
	}
	m.Graph.Initializer = append(m.Graph.Initializer,
		onnxpb.TensorToProto("w", &tensor.Tensor{DType: tensor.Float32, Shape: []int{n, n}, Data: floatBytes(w)}))
	return l.floorRunner(m, []int{n, d}, w[:min(n*d, n*n)], []int{n, d})
}

func floorModel(node *onnxpb.NodeProto, shape []int) *onnxpb.ModelProto {
	var dims []onnxpb.Dim
	for _, n := range shape {
		dims = append(dims, onnxpb.Fixed(n))
	}
	return &onnxpb.ModelProto{IrVersion: 8, OpsetImport: []*onnxpb.OperatorSetIdProto{onnxpb.Opset("", 17)},
		Graph: &onnxpb.GraphProto{Name: "floor", Node: []*onnxpb.NodeProto{node},
			Input:  []*onnxpb.ValueInfoProto{onnxpb.ValueInfo("x", tensor.Float32, dims...)},
			Output: []*onnxpb.ValueInfoProto{onnxpb.ValueInfo("z", tensor.Float32, dims...)}}}
}

// floorRunner repeats x until it fills the shape.
func (l *lab) floorRunner(m *onnxpb.ModelProto, shape []int, x []float32, out []int) (*runner, error) {
	file, err := onnxpb.Encode(m)
	if err != nil {
		return nil, err
	}
	in, err1 := tensor.New(tensor.Float32, shape)
	z, err2 := tensor.New(tensor.Float32, out)
	if err1 != nil || err2 != nil {
		return nil, firstError(err1, err2)
	}
	for i, bytes := 0, floatBytes(x); i < len(in.Data); i += len(bytes) {
		copy(in.Data[i:], bytes)
	}
	s, err := l.rt.LoadBytes(file, ort.SessionOptions{Threads: l.o.Threads, NoSpinning: !l.o.Spinning})
	if err != nil {
		return nil, err
	}
	feed, results := map[string]*tensor.Tensor{"x": in}, map[string]*tensor.Tensor{"z": z}
	return &runner{row: Row{Case: l.c.Name(), Engine: Floor, DType: tensor.Float32.String()}, close: func() { s.Close() },
		run: func(ctx context.Context) error { return s.RunInto(ctx, feed, results) }}, nil
}

func firstError(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}
