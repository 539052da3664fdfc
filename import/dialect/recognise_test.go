package dialect_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/import/dialect"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/reference"
)

func ptr[T any](v T) *T { return &v }

// want is what a layer should have become.
type want struct {
	Dialect string
	Variant reference.Variant
	Causal  bool
	Window  int
	PadLeft int
	Pads    [2]int
	Grid    [2]int
	Gate    reference.Gate
	W       []int // its shape
	Out     bool
}

func got(r *dialect.Result, i int) want {
	l := r.Model.Blocks[i]
	return want{Dialect: r.Dialect, Variant: l.Variant, Causal: l.Causal, Window: l.Window, PadLeft: l.PadLeft, Pads: l.Pads,
		Grid: l.Grid, Gate: l.Gate, W: l.W.Shape(), Out: l.Out != nil}
}

func TestRecognise(t *testing.T) {
	local := func(s int, causal bool) dialect.Options {
		return dialect.Options{Variant: "local", Window: s, Causal: ptr(causal)}
	}
	cases := []struct {
		name  string
		lines []string
		o     dialect.Options
		want  want
	}{
		{"rish full", rish("wbias 9 9"), dialect.Options{}, want{Dialect: "rish", Variant: reference.Full, W: []int{9, 9}, Out: true}},
		{"rish full said", rish("wbias 9 9"), dialect.Options{Variant: "full", Causal: ptr(true)},
			want{Dialect: "rish", Variant: reference.Full, Causal: true, W: []int{9, 9}, Out: true}},
		{"rish local", rish("wbias 9 9"), dialect.Options{Variant: "local", Window: 3},
			want{Dialect: "rish", Variant: reference.Local, Window: 3, W: []int{9, 5}, Out: true}},
		{"rish local causal", rish("wbias 9 9"), local(3, true),
			want{Dialect: "rish", Variant: reference.Local, Causal: true, Window: 3, W: []int{9, 3}, Out: true}},
		{"rish local beyond the table", rish("wbias 9 9"), local(40, false),
			want{Dialect: "rish", Variant: reference.Local, Window: 9, W: []int{9, 17}, Out: true}},
		{"rish simple", rish(), dialect.Options{}, want{Dialect: "rish", Variant: reference.Simple, Out: true}},
		{"xmu full", xmu("position_biases 7 7"), dialect.Options{}, want{Dialect: "xmu", Variant: reference.Full, W: []int{7, 7}}},
		{"xmu simple", xmu(), dialect.Options{}, want{Dialect: "xmu", Variant: reference.Simple}},
		{"comvex full", comvex("u 7 4", "v 7 4"), dialect.Options{},
			want{Dialect: "comvex", Variant: reference.Full, W: []int{7, 7}, Out: true}},
		{"comvex simple said", comvex(), dialect.Options{Variant: "simple"},
			want{Dialect: "comvex", Variant: reference.Simple, Out: true}},
		{"su full", su(6, "position_bias 9 9"), dialect.Options{}, want{Dialect: "su", Variant: reference.Full, W: []int{9, 9}, Out: true}},
		{"su simple", su(6), dialect.Options{}, want{Dialect: "su", Variant: reference.Simple, Out: true}},
		{"su local", su(6, "position_bias 9 9"), local(3, false),
			want{Dialect: "su", Variant: reference.Local, Window: 3, W: []int{9, 5}, Out: true}},
		{"su low rank", su(6, "position_u 9 4", "position_v 9 4"), dialect.Options{Window: 3, Causal: ptr(true)},
			want{Dialect: "su", Variant: reference.Local, Causal: true, Window: 3, W: []int{9, 3}, Out: true}},
		{"su conv", su(3, "position_bias 3 1 3 5", "position_gain 3 1 1 1", "position_offset 3 1 1 1"), dialect.Options{},
			want{Dialect: "su", Variant: reference.Conv2D, Pads: [2]int{1, 2}, W: []int{3, 3, 5}, Out: true}},
		{"su conv on a grid", su(3, "position_bias 3 1 3 3", "position_gain 3 1 1 1", "position_offset 3 1 1 1"),
			dialect.Options{Grid: [2]int{4, 7}, Heads: 3},
			want{Dialect: "su", Variant: reference.Conv2D, Pads: [2]int{1, 1}, Grid: [2]int{4, 7}, W: []int{3, 3, 3}, Out: true}},
		{"nid simple", nid(6), dialect.Options{}, want{Dialect: "nid", Variant: reference.Simple, Causal: true, Out: true}},
		{"nid full", nid(6, "pos_bias_u 9 4", "pos_bias_v 9 4"), dialect.Options{Variant: "full"},
			want{Dialect: "nid", Variant: reference.Full, Causal: true, W: []int{9, 9}, Out: true}},
		{"nid local", nid(6, "pos_bias_u 9 4", "pos_bias_v 9 4"), dialect.Options{Variant: "local", Window: 4},
			want{Dialect: "nid", Variant: reference.Local, Causal: true, Window: 4, W: []int{9, 4}, Out: true}},
		{"nid conv", nid(3, "w 3 4", "gamma 3", "beta 3"), dialect.Options{},
			want{Dialect: "nid", Variant: reference.Conv1D, Causal: true, PadLeft: 3, W: []int{3, 4}, Out: true}},
		{"own full", own(6, "u 9 4", "v_t 9 4"), dialect.Options{Variant: "full", Causal: ptr(true)},
			want{Dialect: "aftonnx", Variant: reference.Full, Causal: true, W: []int{9, 9}, Out: true}},
		{"own local", own(6, "w 9 9"), local(2, false),
			want{Dialect: "aftonnx", Variant: reference.Local, Window: 2, W: []int{9, 3}, Out: true}},
		{"own conv, folded kernel", own(3, "w 3 5"), dialect.Options{Causal: ptr(false)},
			want{Dialect: "aftonnx", Variant: reference.Conv1D, PadLeft: 2, W: []int{3, 5}, Out: true}},
		{"own conv, as square as a table", own(6, "w 6 6"), dialect.Options{Variant: "conv", Causal: ptr(true)},
			want{Dialect: "aftonnx", Variant: reference.Conv1D, Causal: true, PadLeft: 5, W: []int{6, 6}, Out: true}},
		{"own conv 2-D", own(2, "w 2 3 3", "gamma 2", "beta 2"), dialect.Options{Causal: ptr(false)},
			want{Dialect: "aftonnx", Variant: reference.Conv2D, Pads: [2]int{1, 1}, W: []int{2, 3, 3}, Out: true}},
		{"own without output projection", linears("q 6 6", "k 6 6", "v 6 6"), dialect.Options{Causal: ptr(false)},
			want{Dialect: "aftonnx", Variant: reference.Simple}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, err := dialect.Recognise(dialect.Input{File: "x.pt", Source: file(t, c.lines...), Options: c.o})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got(r, 0)); diff != "" {
				t.Errorf("layer (-want +got):\n%s", diff)
			}
		})
	}
}

// maskFile is a labml layer whose mask is where says.
func maskFile(t *testing.T, n int, dtype tensor.DType, inside func(t, s int) bool) *source {
	t.Helper()
	s := file(t, labml("pos_bias 5 5")...)
	values := make([]float64, n*n)
	for i := range values {
		if inside(i/n, i%n) {
			values[i] = 1
		}
	}
	mask, err := tensor.FromFloat64s(dtype, []int{n, n}, values)
	if err != nil {
		t.Fatal(err)
	}
	s.put("local_mask", mask)
	return s
}

func TestMaskGivesWindow(t *testing.T) {
	band := func(s int) func(int, int) bool { return func(t, u int) bool { return max(t-u, u-t) < s } }
	cases := []struct {
		name    string
		inside  func(t, s int) bool
		dtype   tensor.DType
		variant reference.Variant
		window  int
		err     string
	}{
		{"diagonal", band(1), tensor.Bool, reference.Local, 1, ""},
		{"band", band(3), tensor.Bool, reference.Local, 3, ""},
		{"cast to numbers", band(3), tensor.Float16, reference.Local, 3, ""},
		{"everything", band(9), tensor.Bool, reference.Local, 5, ""},
		{"nothing", band(0), tensor.Bool, reference.Simple, 0, ""},
		{"one side only", func(t, s int) bool { return s <= t && t-s < 3 }, tensor.Bool, "", 0, "band"},
		{"a hole", func(t, s int) bool { return t != 2 || s != 2 }, tensor.Bool, "", 0, "band"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, err := dialect.Recognise(dialect.Input{
				Source: maskFile(t, 5, c.dtype, c.inside), Options: dialect.Options{Causal: ptr(false)},
			})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l := r.Model.Blocks[0]; l.Variant != c.variant || l.Window != c.window {
				t.Errorf("got %s with window %d, want %s with %d", l.Variant, l.Window, c.variant, c.window)
			}
		})
	}
}

// TestFactorBand compares the band of an AFT-local layer with factors with the band of the same layer whose table is u v^T.
func TestFactorBand(t *testing.T) {
	for _, causal := range []bool{false, true} {
		for _, window := range []int{1, 3, 7, 12} {
			o := dialect.Options{Variant: "local", Window: window, Causal: &causal}
			factored := file(t, own(6, "u 7 4", "v_t 7 4")...)
			r, err := dialect.Recognise(dialect.Input{Source: factored, Options: o})
			if err != nil {
				t.Fatal(err)
			}
			w, err := reference.FoldFactors(factored.tensors["u"].Array(), factored.tensors["v_t"].Array())
			if err != nil {
				t.Fatal(err)
			}
			band, err := reference.FoldBand(w, min(window, 7), causal)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Model.Blocks[0].W.Array()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(band, got); diff != "" {
				t.Errorf("window %d, causal %t (-table +factors):\n%s", window, causal, diff)
			}
		}
	}
}

func TestHugeTableIsRefused(t *testing.T) {
	src := file(t, concat([]string{"u 40000 1", "v_t 40000 1"}, linears("q 1 1", "k 1 1", "v 1 1"))...)
	_, err := dialect.Recognise(dialect.Input{Source: src, Options: dialect.Options{Variant: "full", Causal: ptr(true)}})
	if err == nil || !strings.Contains(err.Error(), "(40000,40000)") {
		t.Errorf("full: got %v, want an error about (40000,40000)", err)
	}
	local := dialect.Options{Variant: "local", Window: 30000, Causal: ptr(true)}
	if _, err := dialect.Recognise(dialect.Input{Source: src, Options: local}); err == nil || !strings.Contains(err.Error(), "(40000,30000)") {
		t.Errorf("local: got %v, want an error about (40000,30000)", err)
	}
}

func TestWidestType(t *testing.T) {
	cases := []struct {
		first, second, want tensor.DType
	}{
		{tensor.Float32, tensor.Float32, tensor.Float32},
		{tensor.Float16, tensor.Float32, tensor.Float32},
		{tensor.Float64, tensor.Float16, tensor.Float64},
		{tensor.BFloat16, tensor.BFloat16, tensor.BFloat16},
		{tensor.BFloat16, tensor.Float16, tensor.Float32},
	}
	for _, c := range cases {
		lines := xmu()
		lines[0] += " " + c.first.String()
		for i := range lines[1:] {
			lines[1+i] += " " + c.second.String()
		}
		r, err := dialect.Recognise(dialect.Input{Source: file(t, lines...)})
		if err != nil {
			t.Fatal(err)
		}
		if r.DType != c.want {
			t.Errorf("%s with %s: got %s, want %s", c.first, c.second, r.DType, c.want)
		}
	}
}
