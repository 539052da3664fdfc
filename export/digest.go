package export

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// WeightsKey is the metadata key of the digest of a model's weights, and WeightsDigest what it holds: SHA-256, in
// hexadecimal, of every initialiser's name, type, dimensions and bytes, in the order of the graph. A weight that changed
// after the export, which nothing else in the file contradicts, shows there.
const WeightsKey = metadataPrefix + "weights_sha256"

// WeightsDigest is the digest of a graph's initialisers.
func WeightsDigest(g *onnxpb.GraphProto) string {
	h := sha256.New()
	number := func(n int) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		h.Write(b[:])
	}
	for _, t := range g.GetInitializer() {
		number(len(t.GetName())) // lengths first, so that no two lists of weights give the same bytes
		h.Write([]byte(t.GetName()))
		number(int(t.GetDataType()))
		number(len(t.GetDims()))
		for _, d := range t.GetDims() {
			number(int(d))
		}
		number(len(t.GetRawData()))
		h.Write(t.GetRawData())
	}
	return hex.EncodeToString(h.Sum(nil))
}
