package verify

import (
	"github.com/aftonnx/aftonnx/export"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

// digest holds the weights of a file that this project exported against the digest in its metadata. Files without one have
// no row. It finds accidents; whoever means to deceive can write a new digest.
func (s *subject) digest() (row Result, told bool) {
	p := s.graph.Proto()
	for _, m := range p.GetMetadataProps() {
		if m.GetKey() != export.WeightsKey {
			continue
		}
		row = Result{Name: "digest", Kind: KindDigest, Engine: Reference, DType: s.dtype.String(), Pass: true,
			Cases: len(p.GetGraph().GetInitializer()), Derived: "SHA-256 of the weights, as exported"}
		got, err := onnxpb.WeightsDigest(p.GetGraph(), s.dir)
		if err != nil {
			row.fail("the weights cannot be read: %v", err)
		} else if got != m.GetValue() {
			row.fail("the weights' SHA-256 is %s, the export's was %q: a weight was changed since", got, m.GetValue())
		}
		return row, true
	}
	return row, false
}
