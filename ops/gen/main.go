// Command gen writes README.md, the reference page of the operator set, from the declarations.
package main

import (
	"fmt"
	"os"

	"github.com/aftonnx/aftonnx/ops"
)

func main() {
	if err := os.WriteFile("README.md", []byte(ops.Markdown()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}
