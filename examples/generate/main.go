// Generate continues a text with a byte-level language model that aftonnx exported, always with the likeliest byte.
//
//	aftonnx export testdata/model.bin -o model.onnx
//	go run ./examples/generate model.onnx 'func '
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/aftonnx/aftonnx/ort"
)

// The model reaches 256 bytes: what is longer slides out of its view.
const (
	reach = 256
	count = 100
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: generate model.onnx TEXT")
	}
	if err := generate(context.Background(), os.Stdout, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func generate(ctx context.Context, w io.Writer, model, prompt string) error {
	if prompt == "" {
		return fmt.Errorf("the text is empty, want at least one byte to continue")
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

	fmt.Fprint(w, prompt)
	text := []byte(prompt)
	for range count {
		next, err := likeliest(ctx, session, text[max(0, len(text)-reach):])
		if err != nil {
			return err
		}
		text = append(text, next)
		if _, err := w.Write(text[len(text)-1:]); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	return nil
}

// likeliest is the byte with the largest logit after a text: input_ids (batch,sequence), logits (batch,sequence,256).
func likeliest(ctx context.Context, session *ort.Session, text []byte) (byte, error) {
	ids := make([]int64, len(text))
	for i, b := range text {
		ids[i] = int64(b)
	}
	input, err := ort.NewTensor([]int{1, len(ids)}, ids)
	if err != nil {
		return 0, err
	}
	outputs, err := session.Run(ctx, map[string]*ort.Tensor{"input_ids": input})
	if err != nil {
		return 0, err
	}
	logits, err := ort.Values[float32](outputs["logits"])
	if err != nil {
		return 0, err
	}
	if len(logits) != len(text)*256 {
		return 0, fmt.Errorf("%d logits for %d bytes, want 256 each", len(logits), len(text))
	}
	best, last := 0, logits[len(logits)-256:]
	for i, v := range last {
		if v > last[best] {
			best = i
		}
	}
	return byte(best), nil
}
