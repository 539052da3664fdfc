package verify_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aftonnx/aftonnx/verify"
)

// documented are the fields of docs/verify.md: first columns of tables, by the heading that they are under.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	fields, heading, row := map[string][]string{}, "", regexp.MustCompile("^\\| `([a-z0-9_]+)` \\|")
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		} else if m := row.FindStringSubmatch(line); m != nil {
			fields[heading] = append(fields[heading], m[1])
		}
	}
	return fields
}

// jsonFields walks a type and gives the names of its fields as JSON, and those of all types that it holds.
func jsonFields(t reflect.Type, into map[string][]string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || into[t.Name()] != nil {
		return
	}
	into[t.Name()] = []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		into[t.Name()] = append(into[t.Name()], name)
		jsonFields(f.Type, into)
	}
}

// docs/verify.md has every field of the schema under the name of its type, and none that there is not.
func TestSchemaDocumented(t *testing.T) {
	want, got := map[string][]string{}, documented(t)
	jsonFields(reflect.TypeFor[verify.Report](), want)
	if len(want) < 10 {
		t.Fatalf("the walk found %d types", len(want))
	}
	for name, fields := range want {
		for _, f := range fields {
			if !slices.Contains(got[name], f) {
				t.Errorf("docs/verify.md: %s has no row `%s`", name, f)
			}
		}
		for _, f := range got[name] {
			if !slices.Contains(fields, f) {
				t.Errorf("docs/verify.md: %s has a row `%s`, the report no such field", name, f)
			}
		}
	}
}
