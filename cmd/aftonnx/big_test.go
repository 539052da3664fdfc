//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aftonnx/aftonnx/preset"
)

// big gives the folder for gigabytes of files, $AFTONNX_BIG_DIR. These tests take minutes to hours:
//
//	AFTONNX_BIG_DIR=/tmp/big go test ./cmd/aftonnx -run TestBig -timeout 5h -v
func big(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("AFTONNX_BIG_DIR")
	if dir == "" {
		t.Skip("AFTONNX_BIG_DIR is not set")
	}
	return dir
}

// measured is one run of the program.
type measured struct {
	output string
	peak   int64 // bytes of resident memory
	took   time.Duration
}

// measure runs the test binary as the program, TestMain makes it one.
func measure(t *testing.T, program, dir string, args ...string) measured {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("aftonnx %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("no resource usage")
	}
	m := measured{string(out), usage.Maxrss << 10, time.Since(start)}
	t.Logf("aftonnx %s: %.1f s, peak %d MiB", strings.Join(args, " "), m.took.Seconds(), m.peak>>20)
	return m
}

func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "aftonnx")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// TestBig_memory holds what the program promises on the checkpoint big.safetensors of $AFTONNX_BIG_DIR, which
//
//	AFTONNX_BIG=/tmp/big/big.safetensors go test -run WriteBig ./preset
//
// writes (4 GB): inspect takes less than 64 MB, an export that is not verified less than the largest tensor and 256 MB, a verified
// one no more than verify's budget and what its documentation adds to that.
func TestBig_memory(t *testing.T) {
	dir := big(t)
	program := buildProgram(t)
	const largest = 64 << 20 // bytes: embed.weight, as -run WriteBig says
	for _, c := range []struct {
		limit int64
		args  []string
	}{
		{64e6, []string{"inspect", "big.safetensors"}},
		{largest + 256e6, []string{"export", "big.safetensors", "-o", "plain.onnx", "--verify", "off", "--force"}},
		{largest + 256e6, []string{"export", "big.safetensors", "-o", "reuse.onnx", "--verify", "off", "--force",
			"--external-data", "reuse"}},
		{verifyLimit, []string{"export", "big.safetensors", "-o", "verified.onnx", "--force"}},
	} {
		if m := measure(t, program, dir, c.args...); m.peak > c.limit {
			t.Errorf("%s: peak %d MB, want at most %d MB", c.args[0], m.peak/1e6, c.limit/1e6)
		}
	}
}

// verifyLimit is what a verified export may take at any size of model: parts of 256 MiB of weights (verify.Options.PartBytes), each as
// the file has it, as ONNX Runtime holds it, turned and not, and widened to float64 for the reference, a projection at a time.
const verifyLimit = 2 << 30

// TestBig_presets makes every preset with scattered weights, exports and verifies it on all engines, at full width and depth, and
// runs kernels against bodies once at full length.
func TestBig_presets(t *testing.T) {
	dir := big(t)
	program := buildProgram(t)
	only := os.Getenv("AFTONNX_BIG_PRESET")
	for _, p := range preset.All() {
		if only != "" && !strings.Contains(p.Name, only) {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			checkpoint, model := p.Name+".safetensors", p.Name+".onnx"
			measure(t, program, dir, "new", "--preset", p.Name, "--init", "scattered", "--force")
			m := measure(t, program, dir, "export", checkpoint, "--verify", "full", "--force")
			engines := map[string]bool{}
			for line := range strings.Lines(m.output) {
				cells := strings.Split(line, "\t")
				if len(cells) > 8 && cells[0] == "logits" {
					engines[cells[1]] = cells[8] == wordPass
					t.Logf("%s: %s of the largest logit, %s of the allowed, %s kernel calls", cells[1], cells[5], cells[6], cells[7])
				}
			}
			for _, e := range []string{"kernel", "portable", "native"} {
				if !engines[e] {
					t.Errorf("engine %s did not pass:\n%s", e, m.output)
				}
			}
			if !strings.Contains(m.output, "kernel against portable") {
				t.Errorf("no run at full length:\n%s", m.output)
			}
			info, err := os.Stat(filepath.Join(dir, model))
			if err != nil || info.Size() < 4*int64(p.Parameters())/2 {
				t.Errorf("the model: %v, %v", info, err)
			}
			for _, made := range []string{checkpoint, model} {
				if err := os.Remove(filepath.Join(dir, made)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
