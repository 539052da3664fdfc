package layout

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/aftonnx/aftonnx"

// root is the folder of go.mod, seen from this package.
const root = "../.."

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
}

func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Imports,Deps", "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]pkg{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := decoder.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, module) {
			packages[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
		}
	}
}

// TestDirections checks who may know whom, transitively.
func TestDirections(t *testing.T) {
	packages := list(t)
	for _, rule := range []struct {
		from, why string
		allowed   func(to string) bool
	}{
		{"reference", "imports only internal", under("internal")},
		{"preset", "imports only internal", under("internal")},
		{"ops", "imports only internal", under("internal")},
		{"ops/optest", "imports ops, reference and internal", under("internal", "ops", "reference")},
		{"ops/wiring", "imports ops, reference and internal", under("internal", "ops", "reference")},
		{"ops/wiring/wiringtest", "imports ops, reference and internal", under("internal", "ops", "reference")},
		{"ops/kernel", "imports ops and internal", under("internal", "ops")},
		{"ort", "imports the kernels, ops and internal", under("internal", "ops")},
		{"import/checkpoint", "formats only", under("internal")},
		{"import/dialect", "knows reference models and checkpoints", under("internal", "reference", "import/checkpoint")},
		{"import", "never imports export", under("internal", "reference", "ops", "import")},
		{"import/onnxgraph", "never imports export", under("internal", "reference", "ops", "import")},
		{"import/onnxgraph/fuse", "knows neither engines nor files", under("internal", "reference", "ops", "import/onnxgraph")},
		{"export", "never imports import", under("internal", "reference", "ops")},
		{"verify", "does not know the command line", not("cmd")},
		{"verify/render", "does not know the command line", not("cmd")},
		{"task", "knows no engine and no file", under("internal", "reference", "ops")},
		{"infer", "does not know the command line", not("cmd")},
		{"bench", "does not know the command line", not("cmd")},
	} {
		p, ok := packages[rule.from]
		if !ok {
			t.Errorf("no package %s", rule.from)
			continue
		}
		for _, dep := range p.Deps {
			if to, ours := strings.CutPrefix(dep, module+"/"); ours && !rule.allowed(to) {
				t.Errorf("%s depends on %s: it %s", rule.from, to, rule.why)
			}
		}
	}
	for name, p := range packages {
		if !strings.HasPrefix(name, "internal/") {
			continue
		}
		for _, dep := range p.Deps {
			if to, ours := strings.CutPrefix(dep, module+"/"); ours && !strings.HasPrefix(to, "internal/") {
				t.Errorf("%s depends on %s: internal packages serve the others and know none of them", name, to)
			}
		}
	}
}

func under(allowed ...string) func(string) bool {
	return func(to string) bool {
		for _, a := range allowed {
			if to == a || strings.HasPrefix(to, a+"/") {
				return true
			}
		}
		return false
	}
}

func not(forbidden string) func(string) bool {
	return func(to string) bool { return !under(forbidden)(to) }
}

// sources calls f for every line of Go code outside tests and generated files.
func sources(t *testing.T, f func(path, line string, number int)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "testdata"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			f(filepath.ToSlash(rel), lines.Text(), n)
		}
		return lines.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestConfined keeps what is dangerous in one place each.
func TestConfined(t *testing.T) {
	for _, rule := range []struct {
		what    string
		pattern *regexp.Regexp
		allowed *regexp.Regexp
	}{
		{`import "C"`, regexp.MustCompile(`^import "C"`), regexp.MustCompile(`^(ops/kernel|ort)/`)},
		{"creating or renaming files", regexp.MustCompile(`\bos\.(Create|OpenFile|Rename|WriteFile|Link|Symlink|CreateTemp)\(`),
			regexp.MustCompile(`^internal/atomicfile/|/gen/main\.go$|^bench/proc\.go$`)}, // proc.go writes to a file of Linux's own
		{"printing", regexp.MustCompile(`\bfmt\.Print|\bos\.Std(out|err)\b|\blog\.Print|\bprintln\(`),
			regexp.MustCompile(`^cmd/aftonnx/|^bench/gomlx/|/gen/main\.go$|^examples/`)},
		{"func init()", regexp.MustCompile(`^func init\(\)`), regexp.MustCompile(`\.pb\.go$`)},
	} {
		sources(t, func(path, line string, number int) {
			if rule.pattern.MatchString(line) && !rule.allowed.MatchString(path) && !strings.HasPrefix(strings.TrimSpace(line), "//") {
				t.Errorf("%s:%d: %s is not allowed here: %s", path, number, rule.what, strings.TrimSpace(line))
			}
		})
	}
}

// TestNoCallbacks: rule R14 of docs/hostile.md, C never calls Go. A panic there would have nowhere to go, and ONNX Runtime's
// threads are none that Go knows.
func TestNoCallbacks(t *testing.T) {
	sources(t, func(path, line string, number int) {
		if strings.HasPrefix(line, "//export ") {
			t.Errorf("%s:%d: C can call %s", path, number, line)
		}
	})
}

// TestOwnsAndKnows: every package says in a doc.go what it owns; a command says it in main.go.
func TestOwnsAndKnows(t *testing.T) {
	for name, p := range list(t) {
		if strings.HasSuffix(name, "/gen") || strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, "cmd/") {
			continue
		}
		if _, err := os.Stat(filepath.Join(p.Dir, "doc.go")); err != nil {
			t.Errorf("%s has no doc.go", name)
		}
	}
}

// TestGorgonia: gorgonia.org/tensor 0.9.24, which a plain upgrade would select, panics at start under Go 1.26.
func TestGorgonia(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "gorgonia.org/tensor v0.9.3 ") {
		t.Error("go.mod does not hold gorgonia.org/tensor at v0.9.3")
	}
}
