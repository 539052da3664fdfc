package layout

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rules are how many rules of each kind docs/hostile.md has.
func rules() map[string]int {
	return map[string]int{"S": 36, "P": 43, "M": 11, "O": 35, "X": 15, "E": 17, "R": 23, "N": 12, "C": 8, "G": 7}
}

// rule is a row of docs/hostile.md: its tests, by package, or why it does not apply.
type rule struct {
	tests  map[string][]string
	reason string
}

var (
	ruleRow  = regexp.MustCompile(`^\| ([A-Z]\d+) \| (.+) \|$`)
	testCell = regexp.MustCompile("^`([a-z0-9/]+)`: (`[\\w.]+`(?:, `[\\w.]+`)*)$")
)

// readRules reads the tables of docs/hostile.md.
func readRules(t *testing.T) map[string]rule {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "docs", "hostile.md"))
	if err != nil {
		t.Fatal(err)
	}
	found, apply := map[string]rule{}, true
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "## What does not apply" {
			apply = false
		}
		row := ruleRow.FindStringSubmatch(line)
		if row == nil {
			continue
		}
		id, cells := row[1], strings.Split(row[2], " | ")
		if _, twice := found[id]; twice {
			t.Errorf("%s has two rows", id)
		}
		if !apply {
			found[id] = rule{reason: cells[0]}
			continue
		}
		r := rule{tests: map[string][]string{}}
		if len(cells) != 2 {
			t.Errorf("%s: %d cells, want the input and its tests", id, len(cells)+1)
			continue
		}
		for _, part := range strings.Split(cells[1], "; ") {
			m := testCell.FindStringSubmatch(part)
			if m == nil {
				t.Errorf("%s: the tests are %q, want `package`: `test`, ...", id, part)
				continue
			}
			r.tests[m[1]] = strings.Split(strings.ReplaceAll(m[2], "`", ""), ", ")
		}
		found[id] = r
	}
	return found
}

// testText is what the tests of a package say: each function with the comment above it and all up to the next one, and each
// script, by name.
func testText(t *testing.T, dir string) map[string]string {
	t.Helper()
	text := map[string]string{}
	scripts, err := filepath.Glob(filepath.Join(root, dir, "testdata", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?(\w+)`)
	for _, path := range append(files, scripts...) {
		if !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".txtar") && dir != "ops/optest" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, ".txtar") {
			text[filepath.Base(path)] = string(data)
			continue
		}
		at := name.FindAllSubmatchIndex(data, -1)
		for i, m := range at {
			end := len(data)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			above := strings.LastIndex(string(data[:m[0]]), "\n\n") + 1 // the function's comment has no empty line
			text[string(data[m[2]:m[3]])] += string(data[above:end])
		}
	}
	return text
}

// TestHostile: docs/hostile.md has a row for every rule, and the tests that a row names exist and name the rule.
func TestHostile(t *testing.T) {
	found := readRules(t)
	texts := map[string]map[string]string{}
	for kind, count := range rules() {
		for i := range count {
			id := fmt.Sprintf("%s%d", kind, i+1)
			r, ok := found[id]
			delete(found, id)
			if !ok {
				t.Errorf("docs/hostile.md has no rule %s", id)
			} else if r.reason == "" && len(r.tests) == 0 {
				t.Errorf("%s has neither tests nor a reason", id)
			}
			for dir, tests := range r.tests {
				if texts[dir] == nil {
					texts[dir] = testText(t, dir)
				}
				for _, test := range tests {
					if !regexp.MustCompile(`\b` + id + `\b`).MatchString(texts[dir][test]) {
						t.Errorf("%s: %s of %s does not name it", id, test, dir)
					}
				}
			}
		}
	}
	var left []string
	for id := range found {
		left = append(left, id)
	}
	if slices.Sort(left); len(left) > 0 {
		t.Errorf("rows of unknown rules: %q", left)
	}
}
