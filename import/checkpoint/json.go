package checkpoint

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonText walks JSON (RFC 8259) token by token, for a caller that knows what must come next. It never recurses deeper
// than it is told and never guesses: encoding/json would fold the case of keys, let the last of two equal keys win and
// turn bad UTF-8 into U+FFFD.
type jsonText struct {
	what string // for errors: header or index
	s    string // valid UTF-8
	pos  int
}

// newJSON checks the encoding once, for every string at once.
func newJSON(what, s string) (*jsonText, error) {
	j := &jsonText{what: what, s: s}
	if utf8.ValidString(s) {
		return j, nil
	}
	bad := 0
	for {
		r, n := utf8.DecodeRuneInString(s[bad:])
		if r == utf8.RuneError && n == 1 {
			return nil, &Error{Place: j.place(bad), Found: fmt.Sprintf("byte %#02x", s[bad]), Allowed: "UTF-8"}
		}
		bad += n
	}
}

func (j *jsonText) place(pos int) string { return fmt.Sprintf("%s, byte %d", j.what, pos) }

// unexpected reports the token at the current position.
func (j *jsonText) unexpected(allowed string) error {
	found := "the end of the " + j.what
	if j.pos < len(j.s) {
		_, n := utf8.DecodeRuneInString(j.s[j.pos:])
		found = quote(j.s[j.pos : j.pos+n])
	}
	return &Error{Place: j.place(j.pos), Found: found, Allowed: allowed}
}

func (j *jsonText) space() {
	for j.pos < len(j.s) && strings.IndexByte(" \t\n\r", j.s[j.pos]) >= 0 {
		j.pos++
	}
}

// take consumes the punctuation c if it is next.
func (j *jsonText) take(c byte) bool {
	j.space()
	if j.pos < len(j.s) && j.s[j.pos] == c {
		j.pos++
		return true
	}
	return false
}

func (j *jsonText) expect(c byte, allowed string) error {
	if j.take(c) {
		return nil
	}
	return j.unexpected(allowed)
}

// members calls member for each key of an object, with the position of the key; member consumes the value.
func (j *jsonText) members(member func(key string, pos int) error) error {
	if err := j.expect('{', "an object"); err != nil {
		return err
	}
	if j.take('}') {
		return nil
	}
	for {
		j.space()
		pos := j.pos
		key, err := j.str("a key in quotes")
		if err != nil {
			return err
		}
		if err := j.expect(':', "a colon after the key"); err != nil {
			return err
		}
		if err := member(key, pos); err != nil {
			return err
		}
		if j.take('}') {
			return nil
		}
		if err := j.expect(',', "a comma or the end of the object"); err != nil {
			return err
		}
	}
}

// twice says that a key is there a second time.
func (j *jsonText) twice(key string, first, second int) error {
	return &Error{Place: j.place(second), Name: "key " + quote(key),
		Found:   fmt.Sprintf("a second one, the first is at byte %d", first),
		Allowed: "unique keys"}
}

// end makes sure that nothing follows.
func (j *jsonText) end() error {
	if j.space(); j.pos < len(j.s) {
		return j.unexpected("nothing after the " + j.what + "'s object")
	}
	return nil
}

// skip passes over a value of any kind that nobody will look at: well-formed, nested at most depth deep.
func (j *jsonText) skip(depth int) error {
	j.space()
	switch {
	case depth == 0:
		return &Error{Place: j.place(j.pos), Found: "values nested too deep", Allowed: "fewer levels"}
	case strings.HasPrefix(j.s[j.pos:], "{"):
		return j.members(func(string, int) error { return j.skip(depth - 1) })
	case strings.HasPrefix(j.s[j.pos:], "["):
		return j.skipArray(depth)
	case strings.HasPrefix(j.s[j.pos:], `"`):
		_, err := j.str("a string")
		return err
	}
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(j.s[j.pos:], word) {
			j.pos += len(word)
			return nil
		}
	}
	start := j.pos
	for j.pos < len(j.s) && strings.IndexByte("0123456789+-.eE", j.s[j.pos]) >= 0 {
		j.pos++
	}
	if !json.Valid([]byte(j.s[start:j.pos])) {
		j.pos = start
		return j.unexpected("a value")
	}
	return nil
}

func (j *jsonText) skipArray(depth int) error {
	if err := j.expect('[', "an array"); err != nil || j.take(']') {
		return err
	}
	for {
		if err := j.skip(depth - 1); err != nil || j.take(']') {
			return err
		}
		if err := j.expect(',', "a comma or the end of the array"); err != nil {
			return err
		}
	}
}

// numbers reads an array of unsigned integers of at most most elements into dst.
func (j *jsonText) numbers(dst []int, most int) ([]int, error) {
	if err := j.expect('[', "an array of numbers"); err != nil {
		return nil, err
	}
	if j.take(']') {
		return dst, nil
	}
	for {
		if len(dst) == most {
			return nil, &Error{Place: j.place(j.pos), Found: fmt.Sprintf("more than %d numbers", most),
				Allowed: fmt.Sprintf("at most %d", most)}
		}
		n, err := j.number()
		if err != nil {
			return nil, err
		}
		dst = append(dst, n)
		if j.take(']') {
			return dst, nil
		}
		if err := j.expect(',', "a comma or the end of the array"); err != nil {
			return nil, err
		}
	}
}

// number reads a plain decimal from 0 to the largest int: no sign, fraction, exponent or leading zero.
func (j *jsonText) number() (int, error) {
	const allowed = "a plain decimal number, 0 or more"
	j.space()
	start := j.pos
	for j.pos < len(j.s) && strings.IndexByte("0123456789+-.eE", j.s[j.pos]) >= 0 {
		j.pos++
	}
	text := j.s[start:j.pos]
	if text == "" {
		return 0, j.unexpected(allowed)
	}
	n := uint64(0)
	for i, c := range []byte(text) {
		if c < '0' || c > '9' || (i == 1 && text[0] == '0') {
			return 0, &Error{Place: j.place(start), Found: "the number " + quote(text), Allowed: allowed}
		}
		if n = n*10 + uint64(c-'0'); n > math.MaxInt || i > 18 {
			return 0, &Error{Place: j.place(start), Found: "the number " + quote(text),
				Allowed: fmt.Sprintf("at most %d", math.MaxInt)}
		}
	}
	return int(n), nil
}

// str reads a string. One without escapes is part of the text itself.
func (j *jsonText) str(allowed string) (string, error) {
	if err := j.expect('"', allowed); err != nil {
		return "", err
	}
	start := j.pos
	for j.pos < len(j.s) {
		switch c := j.s[j.pos]; {
		case c == '"':
			j.pos++
			return j.s[start : j.pos-1], nil
		case c == '\\':
			return j.escaped(start)
		case c < ' ':
			return "", j.unexpected("control characters only as escapes")
		}
		j.pos++
	}
	return "", j.unexpected("the end of the string")
}

// escaped reads the rest of a string from its first escape on.
func (j *jsonText) escaped(start int) (string, error) {
	end := j.pos
	for end < len(j.s) && j.s[end] != '"' {
		if j.s[end] == '\\' {
			end++
		}
		end++
	}
	var b strings.Builder
	b.Grow(min(end, len(j.s)) - start) // an escape is never shorter than what it stands for
	b.WriteString(j.s[start:j.pos])
	for j.pos < len(j.s) {
		switch c := j.s[j.pos]; {
		case c == '"':
			j.pos++
			return b.String(), nil
		case c == '\\':
			r, err := j.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		case c < ' ':
			return "", j.unexpected("control characters only as escapes")
		default:
			b.WriteByte(c)
			j.pos++
		}
	}
	return "", j.unexpected("the end of the string")
}

// escape reads one escape sequence; the two halves of a surrogate pair count as one.
func (j *jsonText) escape() (rune, error) {
	const short, means = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if j.pos+1 < len(j.s) {
		if i := strings.IndexByte(short, j.s[j.pos+1]); i >= 0 {
			j.pos += 2
			return rune(means[i]), nil
		}
	}
	start := j.pos
	r, ok := j.unit()
	if ok && utf16.IsSurrogate(r) {
		low, okLow := j.unit()
		r = utf16.DecodeRune(r, low)
		ok = okLow && r != utf8.RuneError
	}
	if !ok {
		j.pos = start
		return 0, &Error{Place: j.place(start), Found: "the escape " + quote(j.s[start:min(len(j.s), start+12)]),
			Allowed: `\uXXXX, surrogates in pairs, or one of \" \\ \/ \b \f \n \r \t`}
	}
	return r, nil
}

// unit reads \uXXXX.
func (j *jsonText) unit() (rune, bool) {
	const n = len(`\u0000`)
	if len(j.s)-j.pos < n || j.s[j.pos:j.pos+2] != `\u` {
		return 0, false
	}
	r := rune(0)
	for _, c := range []byte(j.s[j.pos+2 : j.pos+n]) {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || (c < '0' || c > '9' && c < 'A') {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	j.pos += n
	return r, true
}
