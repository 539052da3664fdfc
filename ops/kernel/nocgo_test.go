//go:build !cgo

package kernel

import (
	"strings"
	"testing"
)

func TestWithoutCgo(t *testing.T) {
	for name, err := range map[string]error{"Available": Available(), "Run": Run("AFTSimple", nil, nil, nil, 1)} {
		if err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
			t.Errorf("%s: error %v, want one that says how the program was built", name, err)
		}
	}
	if len(Calls()) != 0 {
		t.Error("a build without kernels has counters")
	}
}
