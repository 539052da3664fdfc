package npy

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/aftonnx/aftonnx/internal/tensor"
)

// alignment of the data in the file, as NumPy has it.
const alignment = 64

// Encode writes t as an .npy file of version 1, row-major and little-endian. NumPy has no bfloat16: such a tensor is
// widened to float32, which loses nothing. The rank is at most 64, as in NumPy.
func Encode(t *tensor.Tensor) []byte {
	if t.DType == tensor.BFloat16 {
		wide, err := t.Cast(tensor.Float32)
		if err == nil {
			t = wide
		}
	}
	dict := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descrOf(t.DType), pythonTuple(t.Shape))
	before := len(magic) + 4 + len(dict) + 1 // version, length, dict, line end
	dict += strings.Repeat(" ", (alignment-before%alignment)%alignment) + "\n"
	out := make([]byte, 0, len(magic)+4+len(dict)+len(t.Data))
	out = append(out, magic...)
	out = append(out, 1, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(dict)))
	out = append(out, dict...)
	return append(out, t.Data...)
}

func descrOf(dtype tensor.DType) string {
	for _, d := range descrs() {
		switch {
		case d.dtype != dtype:
		case dtype.Size() == 1:
			return "|" + d.code
		default:
			return "<" + d.code
		}
	}
	return fmt.Sprintf("|V%d", dtype.Size())
}

// pythonTuple writes () or (2,) or (2, 3).
func pythonTuple(shape []int) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = fmt.Sprint(d)
	}
	if len(parts) == 1 {
		return "(" + parts[0] + ",)"
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
