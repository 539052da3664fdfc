package onnxpb

import (
	"fmt"
	"math"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// The keys of external_data.
const (
	keyLocation = "location"
	keyOffset   = "offset"
	keyLength   = "length"
	keyChecksum = "checksum"
)

// External is where the data of a tensor lies outside its model.
type External struct {
	Location string // slash-separated, relative to the model's folder
	Offset   int64
	Checksum string // SHA-1 of the whole file in hexadecimal, "" when not given; this package writes none
	Length   int64  // -1: not given, as many as the tensor takes
}

func isExternal(t *TensorProto) bool {
	return t.GetDataLocation() == TensorProto_EXTERNAL || len(t.GetExternalData()) > 0
}

// HasExternalData reports whether a tensor anywhere in the bytes of a model, attributes and functions included, has its data
// in another file. It allocates nothing for what they hold, and is false for bytes that are no model.
func HasExternalData(data []byte) bool {
	s := &scanner{data: data, budget: math.MaxInt64}
	return s.message(newSchema((*ModelProto)(nil).ProtoReflect().Descriptor()), 0, len(data)) == nil && s.external
}

// DataFiles are the locations that the initialisers of a model, given as its bytes, have their data in: each once, in the
// order of the model. Those that ExternalData refuses are left out, as all are of bytes that are no model.
func DataFiles(data []byte) []string {
	if !HasExternalData(data) {
		return nil
	}
	m, err := Decode(data)
	if err != nil {
		return nil
	}
	var list []string
	seen := map[string]bool{}
	for _, t := range m.GetGraph().GetInitializer() {
		if e, there, err := ExternalData(t); there && err == nil && !seen[e.Location] {
			seen[e.Location] = true
			list = append(list, e.Location)
		}
	}
	return list
}

// ExternalData reads where the data of a tensor lies; false for one in the model itself. What the entries say is checked,
// and the files are not looked at: a location that would leave the model's folder, an unknown or repeated key, an offset
// or length that is no plain decimal number is an *Error.
func ExternalData(t *TensorProto) (External, bool, error) {
	if !isExternal(t) {
		return External{}, false, nil
	}
	e, err := parseExternal(t)
	if err != nil {
		err.Place = fmt.Sprintf("tensor %q", t.GetName())
		return External{}, true, err
	}
	return e, true, nil
}

func parseExternal(t *TensorProto) (External, *Error) {
	e := External{Length: -1}
	if t.GetDataLocation() != TensorProto_EXTERNAL {
		return e, &Error{Offset: -1, Found: "external_data is set, and data_location says that the data is in the model",
			Allowed: "data_location EXTERNAL"}
	}
	if fields := dataFields(t); len(fields) > 0 {
		return e, &Error{Offset: -1, Found: "the data is in another file and in " + strings.Join(fields, " and in "),
			Allowed: "one of them"}
	}
	seen := map[string]bool{}
	for _, entry := range t.GetExternalData() {
		key, value := entry.GetKey(), entry.GetValue()
		if seen[key] {
			return e, &Error{Offset: -1, Found: fmt.Sprintf("external_data has two entries %q", shorten(key)), Allowed: "one"}
		}
		seen[key] = true
		if err := e.set(key, value); err != nil {
			return e, err
		}
	}
	if !seen[keyLocation] {
		return e, &Error{Offset: -1, Found: "external_data names no location"}
	}
	return e, nil
}

func (e *External) set(key, value string) *Error {
	switch key {
	case keyLocation:
		e.Location = value
		return checkLocation(value)
	case keyOffset:
		return parseNumber(key, value, &e.Offset)
	case keyLength:
		return parseNumber(key, value, &e.Length)
	case keyChecksum:
		if len(value) != 40 || strings.Trim(value, "0123456789abcdefABCDEF") != "" {
			return &Error{Offset: -1, Found: fmt.Sprintf("external_data's checksum is %q", shorten(value)),
				Allowed: "40 hexadecimal digits (SHA-1)"}
		}
		e.Checksum = strings.ToLower(value)
		return nil
	}
	return &Error{Offset: -1, Found: fmt.Sprintf("external_data has an entry %q", shorten(key)),
		Allowed: "location, offset, length or checksum"}
}

// parseNumber reads an unsigned decimal number and nothing else: no sign, no space, no other base.
func parseNumber(key, value string, to *int64) *Error {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || strings.Trim(value, "0123456789") != "" {
		return &Error{Offset: -1, Found: fmt.Sprintf("external_data's %s is %q", key, shorten(value)),
			Allowed: fmt.Sprintf("a decimal number, 0..%d", int64(math.MaxInt64))}
	}
	*to = int64(n)
	return nil
}

// checkLocation refuses what is no file name beneath a folder, on any system. Symbolic links are the business of os.Root.
func checkLocation(location string) *Error {
	fail := func(allowed string) *Error {
		return &Error{Offset: -1, Found: fmt.Sprintf("the data's location is %q", shorten(location)), Allowed: allowed}
	}
	switch {
	case strings.ContainsAny(location, "\x00\\"), strings.Contains(location, ":"):
		return fail("slashes between folders, and no drive, scheme or stream")
	case path.IsAbs(location), !filepath.IsLocal(filepath.FromSlash(location)):
		return fail("a relative path that stays in the model's folder")
	case path.Clean(location) != location || location == ".":
		return fail("a plain path to a file: no ., .. or empty parts")
	}
	return nil
}

// shorten keeps what is quoted in an error to a line.
func shorten(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}
