package task

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // one of the formats
	_ "image/jpeg" // one of the formats
	_ "image/png"  // one of the formats
)

// MaxPixels is how many pixels a picture may have: decoded, they take up to 8 bytes each.
const MaxPixels = 1 << 26

// maxPixelsPerByte is how many pixels a byte of a file can stand for at most. Deflate makes 1032 bytes of one, each 8 pixels
// of one bit (PNG); an 8 x 8 block of JPEG takes a bit or more, a code of GIF stands for less than 4096 pixels.
const maxPixelsPerByte = 8 * 1032

// Formats are what Decode reads.
const Formats = "PNG, JPEG or GIF"

// CheckPicture reads a picture's header, and refuses one that is too large or promises more than its file can hold. It gives
// width and height.
func CheckPicture(file []byte) (width, height int, err error) {
	c, _, err := image.DecodeConfig(bytes.NewReader(file))
	switch {
	case errors.Is(err, image.ErrFormat):
		return 0, 0, fmt.Errorf("is no picture, want %s", Formats)
	case err != nil:
		return 0, 0, fmt.Errorf("cannot be decoded: %w", err)
	case c.Width < 1 || c.Height < 1:
		return 0, 0, fmt.Errorf("is %d x %d pixels", c.Width, c.Height)
	case c.Width > MaxPixels/c.Height:
		return 0, 0, fmt.Errorf("is %d x %d pixels, want at most %d in all", c.Width, c.Height, MaxPixels)
	case c.Width*c.Height > maxPixelsPerByte*len(file):
		return 0, 0, fmt.Errorf("is %d x %d pixels in %d bytes, which cannot hold them", c.Width, c.Height, len(file))
	}
	return c.Width, c.Height, nil
}

// Decode reads a picture; of an animation the first frame.
func Decode(file []byte) (image.Image, error) {
	if _, _, err := CheckPicture(file); err != nil {
		return nil, err
	}
	picture, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("cannot be decoded: %w", err)
	}
	if picture.Bounds().Empty() { // an animation's first frame may be
		return nil, errors.New("has no pixels")
	}
	return picture, nil
}

// luma are the weights of red, green and blue in a grey value (ITU-R BT.601), parts of 65536 as image/color has them.
var luma = [3]float64{19595, 38470, 7471}

// readRow reads what a rectangle covers of row y, as 1 (grey) or 3 channels (red, green, blue) of numbers 0..1. What is
// transparent lies on white.
func readRow(picture image.Image, part image.Rectangle, y int, channels [][]float64) {
	for x := part.Min.X; x < part.Max.X; x++ {
		r, g, b, alpha := picture.At(x, y).RGBA()
		paper := 0xffff - alpha
		colour := [3]float64{float64(r + paper), float64(g + paper), float64(b + paper)}
		if len(channels) == 1 {
			colour[0] = (luma[0]*colour[0] + luma[1]*colour[1] + luma[2]*colour[2]) / 0x10000
		}
		for c := range channels {
			channels[c][x-part.Min.X] = colour[c] / 0xffff
		}
	}
}
