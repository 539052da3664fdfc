package safetensors_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/aftonnx/aftonnx/import/checkpoint"
	"github.com/aftonnx/aftonnx/internal/safetensors"
	"github.com/aftonnx/aftonnx/internal/tensor"
)

// FuzzWrite: whatever names and texts are, a file that is written is one that import/checkpoint reads back as it was meant,
// and what is refused is what the format cannot say.
func FuzzWrite(f *testing.F) {
	f.Add("w", "key", "value", uint8(3))
	f.Add("", "", "", uint8(0))
	f.Add("\"\\/\n\x00\u2028<&>\U0001f600", "__metadata__", "\x7f\ufffd", uint8(1))
	f.Add("__metadata__", "k", "v", uint8(1))
	f.Add("\xff", "k", "v", uint8(1))
	f.Add("w", "k", "\xed\xa0\x80", uint8(255))
	path := filepath.Join(f.TempDir(), "m.safetensors")
	f.Fuzz(func(t *testing.T, name, key, text string, n uint8) {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i)
		}
		var data bytes.Buffer
		err := safetensors.Write(&data, map[string]string{key: text}, []safetensors.Tensor{
			{Name: name, DType: tensor.Float16, Weight: tensor.Hold(tensor.Array{Shape: []int{int(n)}, Data: values})},
		})
		sayable := utf8.ValidString(name) && utf8.ValidString(key) && utf8.ValidString(text) && name != "__metadata__"
		if (err == nil) != sayable {
			t.Fatalf("%q, %q: %q: %v", name, key, text, err)
		}
		if err != nil || len(name) > 1<<16 { // the reader's own limit
			return
		}
		if err := os.WriteFile(path, data.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := checkpoint.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		got, err := file.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if got.DType != tensor.Float16 || got.Len() != int(n) || n > 0 && got.At(int(n)-1) != values[n-1] {
			t.Errorf("%q: read %s", name, got)
		}
		if m := file.Metadata(); len(m) != 1 || m[key] != text {
			t.Errorf("metadata %q, want %q: %q", m, key, text)
		}
	})
}
