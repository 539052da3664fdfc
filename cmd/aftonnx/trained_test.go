package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/infer"
	"github.com/aftonnx/aftonnx/task"
	"github.com/aftonnx/aftonnx/verify"
)

// trained is the path of a file in the module's testdata.
func trained(name string) string { return filepath.Join("..", "..", "testdata", name) }

// evalAnswer is testdata/eval.json: what PyTorch makes of testdata/model.bin and testdata/eval.txt.
type evalAnswer struct {
	Bytes       int                `json:"bytes"`
	Context     int                `json:"context"`
	Stride      int                `json:"stride"`
	BitsPerByte float64            `json:"bits_per_byte_64"` // in float64
	Log2P       map[string]float64 `json:"log2_p"`           // of the byte at an offset
}

// evalJSON runs aftonnx eval.
func evalJSON(t *testing.T, args ...string) *evalView {
	t.Helper()
	code, out, messages := invoke(t.Context(), append([]string{"eval", trained("model.bin"), "--json"}, args...)...)
	view := &evalView{}
	if err := json.Unmarshal([]byte(out), view); code != 0 || err != nil {
		t.Fatalf("exit code %d: %s %v", code, messages, err)
	}
	return view
}

// torchTolerance is what is allowed between PyTorch and an engine, in bits per byte; byteTolerance is that of a single byte. A
// function body owes T/8 * 2^-23 of the largest value in each of eight layers, 3e-5 of logits that go up to 20; in the mean of
// many bytes little of it is left.
const (
	torchTolerance = 1e-4
	byteTolerance  = 1e-3
)

// The whole text has PyTorch's bits per byte, cut by the same rule.
func TestTrained_eval(t *testing.T) {
	if testing.Short() {
		t.Skip("93 windows of 256 bytes")
	}
	var want evalAnswer
	readJSON(t, trained("eval.json"), &want)
	engine := ownEngines()[0]
	if engine == verify.Native {
		t.Skip("without ONNX Runtime this takes minutes")
	}
	got := evalJSON(t, "--text", trained("eval.txt"), "--engine", string(engine), "--threads", "1") // other tests run beside it
	if got.Bytes != want.Bytes || got.Context != want.Context || got.Stride != want.Stride {
		t.Errorf("%d bytes, context %d, stride %d; want %+v", got.Bytes, got.Context, got.Stride, want)
	}
	if b := got.Results[0].BitsPerByte; math.Abs(b-want.BitsPerByte) > torchTolerance {
		t.Errorf("%v bits per byte, want %v", b, want.BitsPerByte)
	}
}

// Single bytes have PyTorch's probabilities on every engine: the byte at an offset is scored in the first window that
// predicts it.
func TestTrained_bytes(t *testing.T) {
	var want evalAnswer
	readJSON(t, trained("eval.json"), &want)
	text, err := os.ReadFile(trained("eval.txt"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := infer.OpenCheckpoint(trained("model.bin"), infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	model, err := task.NewByteModel(m.Ports())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ownEngines() {
		session, err := m.Load(t.Context(), e, infer.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		bits := func(text []byte) float64 {
			if len(text) < 2 {
				return 0
			}
			s, err := model.Score(t.Context(), session, text, task.ScoreOptions{Context: len(text), Stride: 1, Batch: 1})
			if err != nil {
				t.Fatal(err)
			}
			return s.Bits
		}
		for place, p := range want.Log2P {
			at, err := strconv.Atoi(place)
			if err != nil {
				t.Fatal(err)
			}
			if slow := e == verify.Native || e == verify.Reference; slow && at > 64 {
				continue // a window of 256 bytes takes seconds
			}
			start := max(0, (at-1-want.Context)/want.Stride+1) * want.Stride
			if at-1 < want.Context {
				start = 0
			}
			got := bits(text[start:at]) - bits(text[start:at+1])
			if math.Abs(got-p) > byteTolerance {
				t.Errorf("%s, byte %d: log2 p is %v, want %v", e, at, got, p)
			}
		}
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The engines agree on the beginning of the text, over more than one window.
func TestTrained_enginesAgree(t *testing.T) {
	text, err := os.ReadFile(trained("eval.txt"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "text")
	write(t, path, text[:200])
	rows := evalJSON(t, "--text", path, "--engine", joined(ownEngines()), "--context", "64").Results
	for _, r := range rows {
		if d := math.Abs(r.BitsPerByte - rows[len(rows)-1].BitsPerByte); d > torchTolerance/10 {
			t.Errorf("%s: %v bits per byte, %s: %v", r.Engine, r.BitsPerByte, rows[len(rows)-1].Engine, rows[len(rows)-1].BitsPerByte)
		}
	}
}

// The trained model continues text that looks like Go, the same for the same seed.
func TestTrained_generate(t *testing.T) {
	args := []string{"generate", trained("model.bin"), "--prompt", "func ", "--tokens", "32", "--seed", "1", "--engine",
		string(ownEngines()[0])}
	code, first, messages := invoke(t.Context(), args...)
	if code != 0 || !strings.HasPrefix(first, "func ") || len(first) != len("func ")+32 {
		t.Fatalf("exit code %d, %q, %s", code, first, messages)
	}
	if _, again, _ := invoke(t.Context(), args...); again != first {
		t.Errorf("%q, then %q", first, again)
	}
	_, likeliest, _ := invoke(t.Context(), append(args, "--temperature", "0")...)
	if !strings.ContainsAny(likeliest, "({") {
		t.Errorf("the likeliest text is %q", likeliest)
	}
}

// Pictures of characters have PyTorch's logits and its five classes, on every engine.
func TestTrained_classify(t *testing.T) {
	var want map[string]struct {
		Top5   []string
		P      []float64
		Logits []float64
	}
	readJSON(t, trained("glyphs.json"), &want)
	if len(want) < 5 {
		t.Fatalf("%d pictures", len(want))
	}
	args := []string{"classify", trained("glyphs.bin"), "--json", "--top", "1000"}
	for label := range want {
		args = append(args, trained(filepath.Join("glyphs", label+".png")))
	}
	for _, e := range ownEngines() {
		code, out, messages := invoke(t.Context(), append(args, "--engine", string(e))...)
		var view classifyView
		if err := json.Unmarshal([]byte(out), &view); code != 0 || err != nil || len(view.Images) != len(want) {
			t.Fatalf("exit code %d: %s %v", code, messages, err)
		}
		for _, image := range view.Images {
			answer := want[strings.TrimSuffix(filepath.Base(image.Image), ".png")]
			var top []string
			for i, k := range image.Labels {
				if i < len(answer.Top5) {
					top = append(top, k.Label)
					if math.Abs(k.Probability-answer.P[i]) > 1e-5 {
						t.Errorf("%s, %s: %q has probability %v, want %v", e, image.Image, k.Label, k.Probability, answer.P[i])
					}
				}
				// The pixels are rounded to float32, and so are the sums of six blocks: 2^-24 of numbers of up to 10, some
				// hundred times.
				if math.Abs(k.Logit-answer.Logits[k.Class]) > 1e-4 {
					t.Errorf("%s, %s: logit %d is %v, want %v", e, image.Image, k.Class, k.Logit, answer.Logits[k.Class])
				}
			}
			if fmt.Sprint(top) != fmt.Sprint(answer.Top5) {
				t.Errorf("%s, %s: %v, want %v", e, image.Image, top, answer.Top5)
			}
		}
	}
}
