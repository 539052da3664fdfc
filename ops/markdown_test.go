package ops

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMarkdown_upToDate(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Markdown(), string(page)); diff != "" {
		t.Errorf("README.md is not what the declarations say; run go generate ./ops (-want +got):\n%s", diff)
	}
}

// TestMarkdown_complete: a page names every port and attribute of its operator.
func TestMarkdown_complete(t *testing.T) {
	for _, d := range All() {
		page := d.Markdown()
		wanted := []string{d.Name, d.Summary, d.Doc}
		for _, p := range slices.Concat(d.Inputs, d.Outputs) {
			wanted = append(wanted, "`"+p.Name+"`", strings.Join(p.Dims, ", "))
		}
		for _, a := range d.Attrs {
			wanted = append(wanted, "`"+a.Name+"`", a.Doc)
		}
		for _, w := range wanted {
			if !strings.Contains(page, w) {
				t.Errorf("%s: the page lacks %q", d.Name, w)
			}
		}
		if strings.Contains(page, "|  |") || strings.Count(page, "```")%2 != 0 {
			t.Errorf("%s: the page has a gap:\n%s", d.Name, page)
		}
	}
}
