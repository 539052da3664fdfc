package goldentest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Find walks up from the working directory to the first folder that holds rel, and returns that path; "" if none does.
func Find(rel string) string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		path := filepath.Join(dir, rel)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// Shared returns the folder of that name in shared, beside the checkout. Without it the test is skipped: a stranger has
// testdata instead, which covers the same ground.
func Shared(t testing.TB, name string) string {
	t.Helper()
	dir := Find(filepath.Join("shared", name))
	if dir == "" {
		t.Skipf("no shared/%s beside the checkout", name)
	}
	return dir
}

// ReadJSON reads a manifest.
func ReadJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// MustReadJSON is ReadJSON for a test.
func MustReadJSON(t testing.TB, path string, into any) {
	t.Helper()
	if err := ReadJSON(path, into); err != nil {
		t.Fatal(err)
	}
}
