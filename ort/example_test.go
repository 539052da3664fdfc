//go:build cgo

package ort_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"testing"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// A model with one ai.aft.AFTSimple node and inputs q, k, v of shape (batch, sequence, dim): with equal keys and no gate,
// every position is the mean of v over the sequence.
func Example() {
	ctx := context.Background()
	rt, err := ort.Open(ctx, ort.Options{Notify: func(s string) { log.Print(s) }})
	if err != nil {
		log.Fatal(err) // says where it looked and what to do
	}
	defer rt.Close()

	s, err := rt.Load("testdata/simple.onnx", ort.SessionOptions{Threads: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, in := range s.Inputs() {
		fmt.Println(in)
	}

	keys, err := ort.NewTensor([]int{1, 2, 2}, []float32{0, 0, 0, 0})
	if err != nil {
		log.Fatal(err)
	}
	values, err := ort.NewTensor([]int{1, 2, 2}, []float32{1, 10, 3, 30})
	if err != nil {
		log.Fatal(err)
	}
	out, err := s.Run(ctx, map[string]*ort.Tensor{"q": keys, "k": keys, "v": values})
	if err != nil {
		log.Fatal(err)
	}
	y, err := ort.Values[float32](out["y"])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out["y"].Shape, y)
	// Output:
	// q float32 (batch,sequence,dim)
	// k float32 (batch,sequence,dim)
	// v float32 (batch,sequence,dim)
	// [1 2 2] [2 20 2 20]
}

// A stateful model of three tokens, whose logits are how often a sequence has had each. Two continuations share a prompt that is
// run once.
func ExampleDecoder() {
	ctx := context.Background()
	rt, err := ort.Open(ctx, ort.Options{Notify: func(s string) { log.Print(s) }})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	s, err := rt.Load("testdata/counts.onnx", ort.SessionOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	d, err := ort.NewDecoder(s, ort.DecoderOptions{Sequences: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	if _, err := d.Feed(ctx, [][]int64{{0, 0, 1}, nil}); err != nil { // sequence 1 rests
		log.Fatal(err)
	}
	prompt, err := d.Save(0)
	if err != nil {
		log.Fatal(err)
	}
	if err := d.Fork(0, 1); err != nil {
		log.Fatal(err)
	}
	logits, err := d.Feed(ctx, [][]int64{{2}, {1, 1}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(logits[0], d.Position(0))
	fmt.Println(logits[1], d.Position(1))

	if err := d.Restore(0, prompt); err != nil { // once more from the prompt
		log.Fatal(err)
	}
	all, err := d.Step(ctx, [][]int64{{0, 1}, nil}) // the logits of every token, not of the last alone
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(all, all.Float64s()[:6])
	// Output:
	// [2 1 1] 4
	// [2 3 0] 5
	// float32 (2,2,3) [3 1 0 3 2 0]
}

var update = flag.Bool("update", false, "write the models in testdata")

// The files that the examples load are models that the other tests build.
func TestExampleModels(t *testing.T) {
	for name, m := range map[string]*onnxpb.ModelProto{"testdata/simple.onnx": simple(tensor.Float32), "testdata/counts.onnx": counts(tensor.Float32, 1)} {
		want := encode(t, m)
		if *update {
			if err := os.WriteFile(name, want, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs (%v): run with -update", name, err)
		}
	}
}
