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

var update = flag.Bool("update", false, "write testdata/simple.onnx")

// The file that the example loads is the model that the other tests build.
func TestExampleModel(t *testing.T) {
	want := encode(t, simple(tensor.Float32))
	if *update {
		if err := os.WriteFile("testdata/simple.onnx", want, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("testdata/simple.onnx")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("testdata/simple.onnx differs (%v): run with -update", err)
	}
}
