package task_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/task"
)

// encoded is a picture as a PNG file.
func encoded(t testing.TB, p image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// header is a PNG file that is a header alone, of that size, and padding.
func header(width, height uint32, padding int) []byte {
	chunk := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	chunk = append(binary.BigEndian.AppendUint32(chunk, height), 8, 0, 0, 0, 0) // 8 bits, grey
	file := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), chunk...)
	file = binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(chunk))
	return append(file, make([]byte, padding)...)
}

func grey(width, height int, values ...byte) *image.Gray {
	p := image.NewGray(image.Rect(0, 0, width, height))
	copy(p.Pix, values)
	return p
}

// What is no picture, or promises more than it holds, is refused before anything is decoded.
func TestCheckPicture(t *testing.T) {
	whole := encoded(t, grey(3, 2, 1, 2, 3, 4, 5, 6))
	if w, h, err := task.CheckPicture(whole); err != nil || w != 3 || h != 2 {
		t.Errorf("%d x %d, %v", w, h, err)
	}
	for _, c := range []struct {
		name, want string
		file       []byte
	}{
		{"empty", "is no picture, want PNG, JPEG or GIF", nil},
		{"text", "is no picture", []byte("hello")},
		{"BMP", "is no picture", []byte("BM\x00\x00\x00\x00")},
		{"half a header", "cannot be decoded", whole[:20]},
		{"sides of 2^15", "want at most 67108864", header(1<<15, 1<<15, 1<<20)},
		{"too large", "is 8193 x 8192 pixels, want at most 67108864", header(8193, 8192, 1<<16)},
		{"sides of 2^31", "cannot be decoded", header(1<<31, 1<<31, 1<<16)},
		{"sides of 2^30", "cannot be decoded", header(1<<30, 1<<30, 1<<16)},
		{"a bomb's promise", "which cannot hold them", header(8192, 8192, 100)},
	} {
		if _, _, err := task.CheckPicture(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := task.Decode(header(64, 64, 100)); err == nil || !strings.Contains(err.Error(), "cannot be decoded") {
		t.Errorf("a header alone: %v", err)
	}
}

// All three formats are read; of an animation the first frame.
func TestDecode(t *testing.T) {
	p := image.NewPaletted(image.Rect(0, 0, 4, 4), color.Palette{color.White, color.Black})
	other := image.NewPaletted(p.Rect, p.Palette)
	other.Pix[0] = 1
	var jpg, anim bytes.Buffer
	if err := jpeg.Encode(&jpg, p, nil); err != nil {
		t.Fatal(err)
	}
	if err := gif.EncodeAll(&anim, &gif.GIF{Image: []*image.Paletted{p, other}, Delay: []int{1, 1}}); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"png": encoded(t, p), "jpeg": jpg.Bytes(), "gif": anim.Bytes()} {
		got, err := task.Decode(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r, g, b, a := got.At(0, 0).RGBA(); r < 0xfe00 || g < 0xfe00 || b < 0xfe00 || a != 0xffff {
			t.Errorf("%s: the corner is %v", name, got.At(0, 0))
		}
	}
}

// FuzzDecode: whatever a file holds, it is an error or becomes numbers between 0 and 1.
func FuzzDecode(f *testing.F) {
	p := image.NewPaletted(image.Rect(0, 0, 3, 2), color.Palette{color.White, color.Transparent, color.Gray16{9}})
	p.Pix = []byte{0, 1, 2, 2, 1, 0}
	var jpg, anim bytes.Buffer
	if err := jpeg.Encode(&jpg, p, nil); err != nil {
		f.Fatal(err)
	}
	if err := gif.Encode(&anim, p, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(encoded(f, p))
	f.Add(encoded(f, image.NewNRGBA64(image.Rect(0, 0, 2, 2))))
	f.Add(jpg.Bytes())
	f.Add(anim.Bytes())
	f.Add(header(64, 64, 100))
	c := newClassifier(f, 3, task.ImageFacts{Size: [2]int{2, 3}})
	f.Fuzz(func(t *testing.T, file []byte) {
		if w, h, err := task.CheckPicture(file); err != nil || w*h > 1<<16 {
			return // large ones take long
		}
		picture, err := task.Decode(file)
		if err != nil {
			return
		}
		pixels, err := c.Pixels(picture, c.Size())
		if err != nil {
			t.Fatal(err)
		}
		for i := range pixels.Len() {
			if v := pixels.At(i); !(v >= 0 && v <= 1+1e-6) {
				t.Fatalf("pixel %d is %v", i, v)
			}
		}
	})
}
