package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

func held(shape []int, values ...float64) tensor.Weight {
	return tensor.Hold(tensor.Array{Shape: shape, Data: values})
}

// file is a header and data as the format puts them together.
func file(header, data string) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header + data
}

// The expected bytes are written by hand from the format's description.
func TestWrite(t *testing.T) {
	one, two := "\x00\x00\x80\x3f", "\x00\x00\x00\x40" // float32 1 and 2
	for _, c := range []struct {
		name     string
		metadata map[string]string
		tensors  []Tensor
		want     string
	}{
		{"nothing", nil, nil, file("{}      ", "")},
		{"texts, sorted", map[string]string{"b": "2", "a": "x\n\"y"}, nil,
			file(`{"__metadata__":{"a":"x\n\"y","b":"2"}} `, "")},
		{"a tensor", nil, []Tensor{{"w", tensor.Float32, held([]int{2, 1}, 1, 2)}},
			file(`{"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}`, one+two)},
		{"a scalar", nil, []Tensor{{"w", tensor.Float32, held([]int{}, 2)}},
			file(`{"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   `, two)},
		{"no elements", nil, []Tensor{{"w", tensor.Float32, held([]int{0, 3})}},
			file(`{"w":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}`, "")},
		{"larger elements first, else as given", nil, []Tensor{
			{"h", tensor.Float16, held([]int{1}, 1)}, {"b", tensor.Float32, held([]int{1}, 1)}, {"a", tensor.Float32, held([]int{1}, 2)}},
			file(`{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},`+
				`"h":{"dtype":"F16","shape":[1],"data_offsets":[8,10]}}`+"       ", one+two+"\x00\x3c")},
		{"the weight's own type", nil, []Tensor{{Name: "w", Weight: held([]int{1}, 1)}},
			file(`{"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}  `, "\x00\x00\x00\x00\x00\x00\xf0\x3f")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := Write(&got, c.metadata, c.tensors); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := binary.LittleEndian.Uint64(got.Bytes()); n%8 != 0 {
				t.Errorf("a header of %d bytes: the data does not begin at a multiple of 8", n)
			}
		})
	}
}

func TestWrite_refused(t *testing.T) {
	broken := errors.New("no more")
	parts := func(counts []int, err error) tensor.Weight {
		return tensor.NewWeight(tensor.WeightOptions{Shape: []int{4}, DType: tensor.Float32,
			Parts: func(yield func(*tensor.Tensor) error) error {
				for _, n := range counts {
					part, _ := tensor.New(tensor.Float32, []int{n})
					if err := yield(part); err != nil {
						return err
					}
				}
				return err
			}})
	}
	huge := tensor.NewWeight(tensor.WeightOptions{Shape: []int{1 << 60}, DType: tensor.Float32,
		Parts: func(func(*tensor.Tensor) error) error { return nil }})
	one := held([]int{1}, 1)
	for _, c := range []struct {
		name     string
		metadata map[string]string
		tensors  []Tensor
		want     string
	}{
		{"one name twice", nil, []Tensor{{Name: "w", Weight: one}, {Name: "w", Weight: one}}, `tensor "w": the name is taken`},
		{"the name of the texts", nil, []Tensor{{Name: "__metadata__", Weight: one}}, "is taken"},
		{"a name that is not UTF-8", nil, []Tensor{{Name: "\xff", Weight: one}}, `tensor "\xff"`},
		{"a text that is not UTF-8", map[string]string{"k": "\xff"}, nil, `metadata "k"`},
		{"a key that is not UTF-8", map[string]string{"\xff": "v"}, nil, `metadata "\xff"`},
		{"no weight", nil, []Tensor{{Name: "w", DType: tensor.Float32}}, `tensor "w": has no elements to write`},
		{"no element type", nil, []Tensor{{Name: "w", Weight: tensor.Weight{}}}, "invalid"},
		{"too few elements", nil, []Tensor{{Name: "w", Weight: parts([]int{3}, nil)}}, `tensor "w": 1 of the 4 elements`},
		{"too many elements", nil, []Tensor{{Name: "w", Weight: parts([]int{3, 2}, nil)}}, "more than the 4 elements"},
		{"a weight that fails", nil, []Tensor{{Name: "w", Weight: parts([]int{3}, broken)}}, `tensor "w": no more`},
		{"more bytes than can be counted", nil, []Tensor{{Name: "a", Weight: huge}, {Name: "b", Weight: huge}},
			`tensor "b": more than`},
		{"a long header", map[string]string{"k": strings.Repeat("v", 100_000_000)}, nil,
			"a header of 100000032 bytes, want at most 100000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Write(io.Discard, c.metadata, c.tensors)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// narrow takes so many bytes and then fails.
type narrow struct {
	left    int
	largest int // of the writes
}

var errFull = errors.New("full")

func (n *narrow) Write(p []byte) (int, error) {
	n.largest = max(n.largest, len(p))
	if n.left -= len(p); n.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// Wherever the writer stops, its error comes back.
func TestWrite_full(t *testing.T) {
	tensors := []Tensor{{Name: "a", Weight: held([]int{2}, 1, 2)}, {Name: "b", Weight: held([]int{1}, 3)}}
	var whole bytes.Buffer
	if err := Write(&whole, nil, tensors); err != nil {
		t.Fatal(err)
	}
	for room := range whole.Len() {
		if err := Write(&narrow{left: room}, nil, tensors); !errors.Is(err, errFull) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
	if err := Write(&narrow{left: whole.Len()}, nil, tensors); err != nil {
		t.Error(err)
	}
}

// A tensor goes out in the pieces in which its weight comes: nothing gathers them.
func TestWrite_piecewise(t *testing.T) {
	const pieces, elements = 1000, 1 << 10
	w := tensor.NewWeight(tensor.WeightOptions{Shape: []int{pieces, elements}, DType: tensor.Float32,
		Parts: func(yield func(*tensor.Tensor) error) error {
			part, err := tensor.New(tensor.Float32, []int{elements})
			for range pieces {
				if err == nil {
					err = yield(part)
				}
			}
			return err
		}})
	n := &narrow{left: math.MaxInt}
	if err := Write(n, nil, []Tensor{{Name: "w", Weight: w}}); err != nil {
		t.Fatal(err)
	}
	if n.largest != 4*elements {
		t.Errorf("the largest write has %d bytes, want the %d of a piece", n.largest, 4*elements)
	}
}
