// Generate continues a text with a byte-level language model that aftonnx exported, always with the likeliest byte. The model
// keeps a state, so that every byte is run once.
//
//	aftonnx export testdata/model.bin --stateful -o stateful.onnx
//	go run ./examples/generate stateful.onnx 'func '
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/aftonnx/aftonnx/ort"
)

// count is how many bytes are added, unless the model's positions end before.
const count = 100

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: generate stateful.onnx TEXT")
	}
	if err := generate(context.Background(), os.Stdout, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func generate(ctx context.Context, w io.Writer, model, prompt string) error {
	if prompt == "" {
		return errors.New("the text is empty, want at least one byte to continue")
	}
	rt, err := ort.Open(ctx, ort.Options{})
	if err != nil {
		return err // says where it looked for ONNX Runtime, and what to do
	}
	defer rt.Close()
	session, err := rt.Load(model, ort.SessionOptions{})
	if err != nil {
		return err
	}
	defer session.Close()
	decoder, err := ort.NewDecoder(session, ort.DecoderOptions{})
	if err != nil {
		return err // a model that was not exported with --stateful
	}
	defer decoder.Close()

	fmt.Fprint(w, prompt)
	next := []byte(prompt)
	for range count {
		logits, err := decoder.Feed(ctx, [][]int64{tokens(next)})
		var end *ort.PositionError
		if errors.As(err, &end) {
			break
		}
		if err != nil {
			return err
		}
		next = []byte{likeliest(logits[0])}
		if _, err := w.Write(next); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	return nil
}

// tokens are the bytes of a text: this model's tokens are bytes.
func tokens(text []byte) []int64 {
	ids := make([]int64, len(text))
	for i, b := range text {
		ids[i] = int64(b)
	}
	return ids
}

// likeliest is the byte with the largest logit.
func likeliest(logits []float32) byte {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return byte(best)
}
