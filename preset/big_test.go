package preset

import (
	"bufio"
	"errors"
	"os"
	"testing"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// big is a language model that no paper has: 1.1e9 parameters, 4.2 GB in float32, the largest tensor 67 MB.
func big() *Preset {
	return &Preset{
		Name: "big", Task: Bytes, Variant: Local, Layers: 21, Dim: 2048, Positions: 1024, Window: 32, Rank: 256,
	}
}

// TestWriteBig writes that model, with seeded weights, to the file $AFTONNX_BIG: to measure the memory that reading
// and exporting it take. Nothing else needs it.
func TestWriteBig(t *testing.T) {
	path := os.Getenv("AFTONNX_BIG")
	if path == "" {
		t.Skip("AFTONNX_BIG is not set")
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = Write(w, big(), Options{Seed: 1, Init: Scattered, DType: tensor.Float32})
	if err := errors.Join(err, w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
