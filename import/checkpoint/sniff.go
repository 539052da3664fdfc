package checkpoint

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// magic is how the files that people take for checkpoints begin.
type magic struct {
	prefix string
	off    int
	what   string
	advice string
}

const (
	adviceUnpack  = "unpack it and give the file inside"
	adviceFormats = "a PyTorch file (torch.save) or safetensors"
)

func magics() []magic {
	return []magic{
		{prefix: "version https://git-lfs.github.com/spec/", what: "a Git LFS pointer, not the file it stands for",
			advice: "the file itself: git lfs pull"},
		{prefix: "7z\xbc\xaf\x27\x1c", what: "a 7z archive", advice: adviceUnpack},
		{prefix: "\x1f\x8b", what: "gzip data", advice: adviceUnpack},
		{prefix: "\xfd7zXZ\x00", what: "xz data", advice: adviceUnpack},
		{prefix: "BZh", what: "bzip2 data", advice: adviceUnpack},
		{prefix: "\x28\xb5\x2f\xfd", what: "zstd data", advice: adviceUnpack},
		{prefix: "Rar!\x1a\x07", what: "a rar archive", advice: adviceUnpack},
		{prefix: "ustar", off: 257, what: "a tar archive", advice: adviceUnpack +
			", or save the checkpoint again with torch >= 1.6"},
		{prefix: "GGUF", what: "a GGUF file", advice: adviceFormats},
		{prefix: "\x89HDF\r\n\x1a\n", what: "an HDF5 file", advice: adviceFormats},
		{prefix: "\x93NUMPY", what: "a numpy .npy file", advice: adviceFormats},
		{prefix: "\x7fELF", what: "a program or library", advice: adviceFormats},
		{prefix: "MZ", what: "a Windows program", advice: adviceFormats},
		{prefix: "%PDF-", what: "a PDF", advice: adviceFormats},
		{prefix: "#!", what: "a script", advice: adviceFormats},
	}
}

// sniff decides the format by the first bytes. What is no checkpoint is refused by the name of what it seems to be.
func sniff(src source, lim limits) (Kind, error) {
	if src.size < lengthBytes {
		return "", &Error{Place: "byte 0", Found: fmt.Sprintf("%d bytes", src.size), Allowed: "8 bytes at least"}
	}
	head, err := src.readString(0, min(src.size, 512))
	if err != nil {
		return "", err
	}
	switch {
	case isSafetensors(src, head, lim):
		return Safetensors, nil
	case strings.HasPrefix(head, localSig), strings.HasPrefix(head, endSig):
		return PyTorchZip, nil
	case head[0] == opProto && strings.Contains(head[:min(len(head), 32)], legacyMagic):
		return PyTorchLegacy, nil
	case head[0] == opProto && head[1] <= maxProtocol:
		return "", &Error{Place: "byte 0", Found: "a Python pickle that torch.save did not write", Allowed: adviceFormats}
	}
	for _, m := range magics() {
		if len(head) >= m.off && strings.HasPrefix(head[m.off:], m.prefix) {
			return "", &Error{Place: "byte 0", Found: m.what, Allowed: m.advice}
		}
	}
	if looksLikeSafetensors(head) {
		return Safetensors, nil
	}
	return "", unknown(src, head, lim)
}

// isSafetensors knows a file by a header's length that can be true and the brace behind it. It comes before all other
// formats: a length may begin with the bytes of any of them, as 384 does with those of a pickle, but none of them goes on
// with the zeros of a length.
func isSafetensors(src source, head string, lim limits) bool {
	most := min(lim.header, src.size-lengthBytes)
	return le64(head, 0) <= uint64(most) && strings.HasPrefix(strings.TrimLeft(head[lengthBytes:], " \t\r\n"), "{")
}

// looksLikeSafetensors accepts what begins with a length and an opening brace, and any length that only a binary number
// can be: what is wrong with it is for the header's reader to say.
func looksLikeSafetensors(head string) bool {
	rest := strings.TrimLeft(head[lengthBytes:], " \t\r\n")
	return strings.HasPrefix(rest, "{") || le64(head, 0) <= math.MaxUint32
}

// looksLikeIndex knows JSON text by its opening brace: no file of tensors begins like that. The first 8 bytes of a
// safetensors file are the length of its header, and a length that begins with a brace has zero bytes behind.
func looksLikeIndex(src source) bool {
	head, err := src.readString(0, min(src.size, 16))
	return err == nil && strings.HasPrefix(strings.TrimLeft(head, " \t\r\n"), "{") && !strings.ContainsRune(head, 0)
}

func unknown(src source, head string, lim limits) error {
	e := &Error{Place: "byte 0", Found: "bytes " + hexBytes(head) + ", no known format",
		Allowed: fmt.Sprintf("a PyTorch zip, or safetensors: 8 bytes for a header length of at most %d, then {",
			lim.header)}
	text := strings.ToLower(strings.TrimLeft(strings.TrimPrefix(head, "\ufeff"), " \t\r\n"))
	switch {
	case strings.HasPrefix(text, "<!doctype html"), strings.HasPrefix(text, "<html"):
		e.Found, e.Allowed = "an HTML page", "the file itself: the download gave a web page"
	case strings.HasPrefix(text, "<"):
		e.Found = "XML or HTML"
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		e.Found = "JSON text"
	case looksLikeONNX(head):
		e.Found, e.Allowed = "an ONNX model", adviceFormats+"; ONNX files are read elsewhere, not as checkpoints"
	case endsLikeZip(src):
		e.Found, e.Allowed = "a zip archive behind other bytes", "an archive that starts at byte 0"
	case utf8.ValidString(head[:min(len(head), 64)]) && !strings.ContainsRune(head, 0):
		e.Found = "text: " + quote(head[:min(len(head), 32)])
	}
	return e
}

// looksLikeONNX knows a ModelProto by its first fields: ir_version (1, a small number), then a producer, graph or opset.
func looksLikeONNX(head string) bool {
	return head[0] == 0x08 && head[1] > 0 && head[1] < 0x40 && strings.IndexByte("\x12\x1a\x22\x28\x32\x3a\x42",
		head[2]) >= 0
}

func endsLikeZip(src source) bool {
	tail, err := src.readString(max(0, src.size-endLen), min(src.size, endLen))
	return err == nil && strings.HasPrefix(tail, endSig)
}
