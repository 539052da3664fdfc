package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/aftonnx/aftonnx/internal/npy"
	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ort"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"aftonnx": main})
}

// TestScripts runs testdata/*.txtar. The condition [ort] is whether ONNX Runtime can be used here; $TESTDATA is the
// module's testdata folder, and the folder tiny holds what writeTiny makes.
func TestScripts(t *testing.T) {
	repository, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	library := findRuntime(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TESTDATA", repository)
			if library != "" {
				e.Setenv("AFTONNX_ORT_LIB", library)
			}
			e.Setenv("AFTONNX_OFFLINE", "1")
			return writeTiny(filepath.Join(e.WorkDir, "tiny"))
		},
		Condition: func(cond string) (bool, error) {
			if cond == "ort" {
				return library != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "near": cmdNear, "same": cmdSame, "corrupt": cmdCorrupt, "files": cmdFiles,
		},
	})
}

// findRuntime returns the library, fetched if need be, or "" in a build that cannot load one. Where it could, but there
// is none, the test fails: most of what it would check needs ONNX Runtime.
func findRuntime(t *testing.T) string {
	t.Helper()
	if err := kernel.Available(); err != nil {
		t.Logf("without ONNX Runtime: %v", err)
		return ""
	}
	runtime, err := ort.Open(t.Context(), ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.Close()
	return runtime.Library().Path
}

// cmdExits is "exits CODE program args...": it runs the program and requires that exit code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program args...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdNear is "near got.npy want.npy TOLERANCE": the arrays have one shape and differ by at most that.
func cmdNear(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: near got.npy want.npy TOLERANCE")
	}
	got, err := npy.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	want, err := npy.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	tolerance, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	if g, w := fmt.Sprint(got.Shape), fmt.Sprint(want.Shape); g != w {
		ts.Fatalf("shape %s, want %s", g, w)
	}
	worst := 0.0
	for i := range want.Len() {
		d := math.Abs(got.At(i) - want.At(i))
		if math.IsNaN(d) {
			d = math.Inf(1)
		}
		worst = max(worst, d)
	}
	if (worst <= tolerance) == neg {
		ts.Fatalf("largest difference %v, tolerance %v", worst, tolerance)
	}
}

// cmdSame is "same FILE...": the files, with "$WORK" and their own differences left alone, hold the same bytes.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: same FILE FILE...")
	}
	first := ts.ReadFile(args[0])
	for _, name := range args[1:] {
		if other := ts.ReadFile(name); other != first {
			ts.Fatalf("%s holds\n%s\n%s holds\n%s", args[0], first, name, other)
		}
	}
}

// cmdFiles is "files DIR N": the folder holds that many files and folders, temporary ones included.
func cmdFiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: files DIR N")
	}
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if strconv.Itoa(len(entries)) != args[1] {
		ts.Fatalf("%s holds %v, want %s files", args[0], entries, args[1])
	}
}

// cmdCorrupt is "corrupt in out OFFSET": it copies a file and flips the bits of one byte; "half" as the offset cuts the
// file in the middle instead.
func cmdCorrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: corrupt in out OFFSET|half")
	}
	data := []byte(ts.ReadFile(args[0]))
	if args[2] == "half" {
		data = data[:len(data)/2]
	} else {
		at, err := strconv.Atoi(args[2])
		ts.Check(err)
		data[at] ^= 0xff
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o644))
}

// invoke runs a command line in this process.
func invoke(ctx context.Context, args ...string) (code int, out, messages string) {
	var o, m bytes.Buffer
	code = run(ctx, args, strings.NewReader(""), &o, &m)
	return code, o.String(), m.String()
}

// A cancelled export says so, exits with 130 and leaves nothing, not even a temporary file.
//
// Rule E15 of docs/hostile.md.
func TestExport_interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	code, _, messages := invoke(ctx, "export", "../../testdata/stack.bin", "-o", filepath.Join(dir, "m.onnx"), "--engine", "native")
	if code != exitInterrupted || !strings.Contains(messages, "interrupted") {
		t.Errorf("exit code %d, messages %q", code, messages)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left %v", entries)
	}
}

// A cancelled new leaves nothing either.
func TestNew_interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	code, _, messages := invoke(ctx, "new", "--preset", "imagenet-full-tiny", "-o", filepath.Join(dir, "m.safetensors"))
	if code != exitInterrupted || !strings.Contains(messages, "interrupted") {
		t.Errorf("exit code %d, messages %q", code, messages)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left %v", entries)
	}
}

// SIGINT ends a long verification with 130.
func TestVerify_signal(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	program, err := exec.LookPath("aftonnx") // testscript.Main puts it there
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "verify", "--engine", "native")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Skip(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"export", "inspect", "verify"}
	for name, want := range map[string]string{
		"exprot":  "did you mean export?",
		"Verify":  "did you mean verify?",
		"zzzzzzz": "words are export, inspect, verify",
	} {
		if got := nearest("words", name, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

// Rule E12 of docs/hostile.md.
func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"y": "y.npy", "layers.0/y": "layers.0_y.npy", "../../etc/x": "_._.._etc_x.npy",
		"-rf": "_rf.npy", "a\x00b\x1b[31m": "a_b__31m.npy", strings.Repeat("n", 500): strings.Repeat("n", 200) + ".npy",
	} {
		if got := fileName(name); got != want {
			t.Errorf("fileName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for name, want := range map[string]string{
		"layers.0.w": "layers.0.w", "größe": "größe", "a\nb": `"a\nb"`, "\x1b[31m": `"\x1b[31m"`, "\xff": `"\xff"`, `a"b`: `"a\"b"`,
	} {
		if got := printable(name); got != want {
			t.Errorf("printable(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestTable_terminal(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out, terminal: true}
	tab := &table{header: []string{"name", "verdict"}}
	tab.add("long-name", "pass")
	tab.add("x", "FAIL")
	a.printTable(tab)
	want := "NAME       VERDICT\nlong-name  pass\nx          FAIL\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	a.colour = true
	a.printTable(tab)
	if !strings.Contains(out.String(), "\x1b[32mpass\x1b[0m") {
		t.Errorf("no colour in %q", out.String())
	}
}

// refusing is a writer that takes nothing.
type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }

// Results that cannot be written are an error of every verb, tables and JSON alike; a reader that went away needs no words.
//
// Rule E15 of docs/hostile.md.
func TestResults_unwritable(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}
	for _, args := range [][]string{
		{"inspect", "../../testdata/full.bin"}, {"inspect", "--json", "../../testdata/full.bin"}, {"ops"}, {"ops", "AFTFull"},
		{"new", "--list"},
		{"verify", "--engine", "native", "../../testdata/full.bin"}, {"doctor", "--json"},
		{"export", "../../testdata/full.bin", "--verify", "off", "-o", filepath.Join(t.TempDir(), "m.onnx")}, {"--version"}, {"--help"},
	} {
		var messages bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), refusing{full}, &messages)
		if args[0] == "doctor" && kernel.Available() != nil {
			continue // which fails anyway
		}
		if code != exitUsage || !strings.Contains(messages.String(), "no space left on device") {
			t.Errorf("%q: exit code %d, messages %q", args, code, messages.String())
		}
	}
	var messages bytes.Buffer
	code := run(t.Context(), []string{"ops"}, strings.NewReader(""), refusing{syscall.EPIPE}, &messages)
	if code == 0 || messages.Len() > 0 {
		t.Errorf("a closed pipe: exit code %d, messages %q", code, messages.String())
	}
}
