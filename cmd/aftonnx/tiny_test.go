package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aftonnx/aftonnx/internal/tinynet"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/verify"
)

// writeTiny puts the networks and pictures of package tinynet into a folder.
func writeTiny(dir string) error {
	networks, err := tinynet.Checkpoints()
	if err != nil {
		return err
	}
	pictures, err := tinynet.Pictures()
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for name, data := range networks {
		files[name+".safetensors"] = data
	}
	for name, data := range pictures {
		files[name+".png"] = data
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for name := range maps.Keys(files) {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o666); err != nil {
			return err
		}
	}
	return nil
}

// tiny is the path of a file that writeTiny wrote.
func tiny(t *testing.T) func(name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := writeTiny(dir); err != nil {
		t.Fatal(err)
	}
	return func(name string) string { return filepath.Join(dir, name) }
}

// ownEngines are those of this build.
func ownEngines() []verify.Engine {
	if kernel.Available() != nil {
		return []verify.Engine{verify.Native, verify.Reference}
	}
	return []verify.Engine{verify.Kernel, verify.Portable, verify.Native, verify.Reference}
}

func joined(engines []verify.Engine) string {
	names := make([]string, len(engines))
	for i, e := range engines {
		names[i] = string(e)
	}
	return strings.Join(names, ",")
}

// Every engine gives the bits per byte that follow by hand, whatever the windows: this model looks at one byte alone.
func TestEval_byHand(t *testing.T) {
	path := tiny(t)
	text := "abcdefgh, and what is no successor: \x00\xff\x00 zyx"
	want := 0.0
	for i := range len(text) - 1 {
		want += tinynet.Cost(text[i], text[i+1]) / float64(len(text)-1)
	}
	write(t, path("text"), []byte(text))
	for _, flags := range [][]string{nil, {"--context", "5", "--stride", "5"}, {"--context", "7", "--stride", "1", "--batch", "3"}} {
		code, out, messages := invoke(t.Context(), append([]string{"eval", path("lm.safetensors"), "--text", path("text"),
			"--engine", joined(ownEngines()), "--json"}, flags...)...)
		var view evalView
		if err := json.Unmarshal([]byte(out), &view); code != 0 || err != nil {
			t.Fatalf("%q: exit code %d: %s %v", flags, code, messages, err)
		}
		if view.Schema != evalSchema || view.Bytes != len(text) || len(view.Results) != len(ownEngines()) {
			t.Errorf("%q: %+v", flags, view)
		}
		for _, r := range view.Results {
			tolerance := 1e-12 // of native and reference, where the weights are as in the formula but for slope's own digits
			if r.Engine == verify.Kernel || r.Engine == verify.Portable {
				tolerance = 1e-5 // 8 times 2^-24 and an epsilon that is float32 too
			}
			if math.Abs(r.BitsPerByte-want) > tolerance*want {
				t.Errorf("%q, %s: %.12f bits per byte, want %.12f", flags, r.Engine, r.BitsPerByte, want)
			}
		}
	}
}

// Every engine gives the class and the probability that follow by hand.
func TestClassify_byHand(t *testing.T) {
	path := tiny(t)
	for _, e := range ownEngines() {
		for _, c := range []struct {
			model, picture, label string
			class                 int
			size                  [2]int
		}{
			{"shades", "white", "bright", 0, [2]int{4, 4}}, {"shades", "black", "dark", 1, [2]int{4, 4}},
			{"shades", "wide", "bright", 0, [2]int{4, 4}}, {"shades", "clear", "bright", 0, [2]int{4, 4}},
			{"any-size", "black", "", 1, [2]int{4, 4}}, {"any-size", "wide", "", 0, [2]int{10, 32}},
			{"as-it-is", "white", "", 0, [2]int{4, 4}},
		} {
			code, out, messages := invoke(t.Context(), "classify", path(c.model+".safetensors"), path(c.picture+".png"), "--json",
				"--engine", string(e))
			var view classifyView
			if err := json.Unmarshal([]byte(out), &view); code != 0 || err != nil {
				t.Fatalf("%v: exit code %d: %s %v", c, code, messages, err)
			}
			got := view.Images[0]
			if view.Schema != classifySchema || len(got.Labels) != 2 || got.Size != c.size {
				t.Fatalf("%v: %+v", c, view)
			}
			first := got.Labels[0]
			if first.Class != c.class || first.Label != c.label || math.Abs(first.Probability-tinynet.Probability()) > 1e-6 {
				t.Errorf("%s, %v: %+v, want %.6f", e, c, first, tinynet.Probability())
			}
		}
	}
}

// A text that is interrupted stays, and the exit code says so; JSON holds what there is.
func TestGenerate_interrupted(t *testing.T) {
	path := tiny(t)
	for _, flags := range [][]string{nil, {"--json"}} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &stopping{after: 3, stop: cancel}
		if flags != nil {
			time.AfterFunc(300*time.Millisecond, cancel)
			out.after = math.MaxInt
		}
		var messages bytes.Buffer
		args := append([]string{"generate", path("lm.safetensors"), "--prompt", "a", "--engine", "native", "--tokens", "100000000", "--context", "16",
			"--temperature", "0"}, flags...)
		code := run(ctx, args, strings.NewReader(""), out, &messages)
		if code != exitInterrupted || !strings.Contains(messages.String(), "interrupted") {
			t.Errorf("%q: exit code %d, messages %q", flags, code, &messages)
		}
		if flags == nil && out.String() != "abc" {
			t.Errorf("printed %q", out)
		}
		var view generateView
		if flags != nil && (json.Unmarshal(out.Bytes(), &view) != nil || !view.Interrupted || view.Tokens == 0 || len(view.Text) == 0) {
			t.Errorf("printed %q", out)
		}
	}
}

// stopping calls stop at some write.
type stopping struct {
	bytes.Buffer
	after int
	stop  func()
}

func (s *stopping) Write(p []byte) (int, error) {
	if s.after--; s.after == 0 {
		s.stop()
	}
	return s.Buffer.Write(p)
}

// A terminal gets whole characters and nothing that drives it; anything else the bytes as they are.
func TestTextWriter(t *testing.T) {
	const text = "é\x1b[31m\xff\u202e€\t\x00\xe2\x82"
	for _, c := range []struct {
		terminal bool
		text     string
		want     string
	}{
		{false, text, text}, {false, "", ""}, {true, "é€", "é€\n"}, {true, "line\n", "line\n"}, {true, "\xe2\x82", "\ufffd\n"},
		{true, text, "é\ufffd[31m\ufffd\ufffd€\t\ufffd\ufffd\n"},
	} {
		var out bytes.Buffer
		w := &textWriter{w: &out, terminal: c.terminal}
		for i := range len(c.text) {
			w.write(c.text[i])
			if c.terminal && strings.HasPrefix(c.text, "é") && i == 0 && out.Len() > 0 {
				t.Errorf("half a character: %q", &out)
			}
		}
		w.end()
		if out.String() != c.want {
			t.Errorf("%v, %q: %q, want %q", c.terminal, c.text, &out, c.want)
		}
	}
}

// Results that cannot be written end the work: a text does not go on being generated for nobody.
func TestTiny_unwritable(t *testing.T) {
	path := tiny(t)
	write(t, path("text"), []byte("some text"))
	for _, args := range [][]string{
		{"generate", path("lm.safetensors"), "--prompt", "a", "--tokens", "100000000", "--context", "16"},
		{"generate", path("endless.safetensors"), "--prompt", "a", "--tokens", "100000000"},
		{"generate", path("lm.safetensors"), "--prompt", "a", "--tokens", "1", "--json"},
		{"eval", path("lm.safetensors"), "--text", path("text")},
		{"classify", path("shades.safetensors"), path("white.png")},
	} {
		args = append(args, "--engine", "native")
		var messages bytes.Buffer
		full := refusing{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}}
		code := run(t.Context(), args, strings.NewReader(""), full, &messages)
		if code != exitUsage || !strings.Contains(messages.String(), "no space left on device") {
			t.Errorf("%q: exit code %d, messages %q", args, code, &messages)
		}
		messages.Reset()
		if code := run(t.Context(), args, strings.NewReader(""), refusing{syscall.EPIPE}, &messages); code == 0 || messages.Len() > 0 {
			t.Errorf("%q into a closed pipe: exit code %d, messages %q", args, code, &messages)
		}
	}
}
