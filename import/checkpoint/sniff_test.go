package checkpoint

import (
	"strings"
	"testing"
)

// TestSniff_refused: what people download or rename instead of a checkpoint is refused by its name, with what to do.
func TestSniff_refused(t *testing.T) {
	tar := strings.Repeat("\x00", 257) + "ustar\x0000" + strings.Repeat("\x00", 300)
	for _, c := range []struct {
		name, data string
		want       []string
	}{
		{"P1 empty", "", []string{"0 bytes"}},
		{"P2 zeros", strings.Repeat("\x00", 1024), []string{"header is empty"}},
		{"P3 tar", "model/" + tar[6:], []string{"a tar archive", "torch >= 1.6"}},
		{"P5 7z", "7z\xbc\xaf\x27\x1c" + tar, []string{"a 7z archive", "unpack it"}},
		{"gzip", "\x1f\x8b\x08" + tar, []string{"gzip data"}},
		{"xz", "\xfd7zXZ\x00\x00\x04", []string{"xz data"}},
		{"bzip2", "BZh91AY&SY", []string{"bzip2 data"}},
		{"zstd", "\x28\xb5\x2f\xfd\x24\x00\x01\x00", []string{"zstd data"}},
		{"rar", "Rar!\x1a\x07\x01\x00", []string{"a rar archive"}},
		{"HTML", "\n<!DOCTYPE html>\n<html><head>", []string{"an HTML page", "the download"}},
		{"HTML without a doctype", "<html lang=\"en\">", []string{"an HTML page"}},
		{"XML", "<?xml version=\"1.0\"?><Error>AccessDenied</Error>", []string{"XML or HTML"}},
		{"Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
			[]string{"a Git LFS pointer", "git lfs pull"}},
		{"ONNX", "\x08\x08\x12\x07pytorch\x1a\x052.0.1:", []string{"an ONNX model"}},
		{"ONNX without a producer", "\x08\x08:\x80\x01\x0a\x04main", []string{"an ONNX model"}},
		{"GGUF", "GGUF\x03\x00\x00\x00\x01", []string{"a GGUF file"}},
		{"HDF5", "\x89HDF\r\n\x1a\n\x00", []string{"an HDF5 file"}},
		{"npy", "\x93NUMPY\x01\x00v\x00{'descr'", []string{"a numpy .npy file"}},
		{"ELF", "\x7fELF\x02\x01\x01\x00", []string{"a program or library"}},
		{"script", "#!/bin/sh\nexit 1\n", []string{"a script"}},
		{"PDF", "%PDF-1.7\n%", []string{"a PDF"}},
		{"JSON", `{"hidden_size": 768}`, []string{"JSON text", "no index of shards"}},
		{"JSON list", `["hidden_size", 768]`, []string{"JSON text"}},
		{"text", "hello there, this is no checkpoint", []string{`text: "hello there, this is no checkpoi"`}},
		{"P16 zip behind other bytes", "\xca\xfe\xba\xbe\x00\x01\x02\x03" + string(torchFile(pickled(pSix()))),
			[]string{"a zip archive behind other bytes", "byte 0"}},
		{"a pickle of anything", pickled("}(", pStr("key"), "K\x01u"),
			[]string{"a Python pickle that torch.save did not write"}},
		{"M1 a header of seven numbers and raw weights", u32(288) + u32(768) + u32(6) + u32(6) + u32(6) + u32(32000) + u32(256) + floats(1, 2, 3),
			[]string{"no known format"}},
		{"binary", "\x00\x01\x02\x03\x04\x05\x06\x07\x08",
			[]string{"bytes 00 01 02 03 04 05 06 07 ...", "no known format"}},
		{"bytes that are no text", "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7", []string{"no known format"}},
	} {
		t.Run(c.name, func(t *testing.T) { refusedBytes(t, []byte(c.data), c.want...) })
	}
}

// TestSniff_length: the length of a safetensors header may look like the beginning of anything.
func TestSniff_length(t *testing.T) {
	entry := `{` + stEntry(`"w"`, 0, 6) + `}`
	for _, n := range []int{0x80, 0x0180, 0x0280, 0x0380, 0x0480, 0x0580, 0x0680, 0x2123, 0x5a4d, 0x8b1f, 0x0108} {
		f := accepted(t, safetensorsFile(entry+strings.Repeat(" ", n-len(entry)), floats(0, 1, 2, 3, 4, 5)))
		if got := values(t, f, "w"); f.Kind() != Safetensors || got[5] != 5 {
			t.Errorf("a header of %#x bytes: %s, %v", n, f.Kind(), got)
		}
	}
}
