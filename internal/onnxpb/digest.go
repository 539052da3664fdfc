package onnxpb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// WeightsDigest is SHA-256, in hexadecimal, of the name, type, dimensions and bytes of every initialiser, in the order of
// the graph, wherever the bytes are: dir is the folder of the model, for those in other files. It reads them piece by
// piece. Elements in typed fields, which this package does not write, do not count.
func WeightsDigest(g *GraphProto, dir string) (string, error) {
	d, folder := newDigest(), NewFolder(dir)
	for _, t := range g.GetInitializer() {
		if err := d.stored(t, folder); err != nil {
			return "", err
		}
	}
	return d.text(), nil
}

type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) text() string { return hex.EncodeToString(d.Sum(nil)) }

// begin takes everything of an initialiser but its bytes. Lengths come first, so that no two lists of weights give the same.
func (d digest) begin(t *TensorProto, size int) {
	number := func(n int) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		d.Write(b[:])
	}
	number(len(t.GetName()))
	d.Write([]byte(t.GetName()))
	number(int(t.GetDataType()))
	number(len(t.GetDims()))
	for _, dim := range t.GetDims() {
		number(int(dim))
	}
	number(size)
}

// stored takes an initialiser of a model.
func (d digest) stored(t *TensorProto, in *Folder) error {
	if !isExternal(t) {
		d.begin(t, len(t.GetRawData()))
		d.Write(t.GetRawData())
		return nil
	}
	e, err := in.look(t)
	if err != nil {
		return err
	}
	d.begin(t, e.size)
	return e.read(func(piece []byte) error { d.Write(piece); return nil })
}
