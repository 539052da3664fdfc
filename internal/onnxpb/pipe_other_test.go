//go:build !unix

package onnxpb

import "errors"

func makePipe(string) error { return errors.ErrUnsupported }
