// Command aftonnx exports, verifies, inspects and runs Attention Free Transformers as ONNX models.
//
// One file holds one verb: flags in, calls of the packages, results out. What a file format or an operator is, is none of
// this package's business.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
