package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/aftonnx/aftonnx/verify"
)

// verifyEach verifies in a process of its own for every ONNX Runtime library: a process can load one. The reports become one,
// with the library's version as part of the setting.
func (a *app) verifyEach(flags *pflag.FlagSet, args, libraries []string) (*verify.Report, error) {
	var all *verify.Report
	for _, library := range libraries {
		a.step("ONNX Runtime " + library)
		r, err := a.verifyWith(library, repeated(flags), args)
		if err != nil {
			return nil, err
		}
		r.SetRuntime(library)
		if all == nil {
			all = r
		} else {
			all.Merge(r)
		}
	}
	return all, nil
}

// verifyWith runs this program again. Its exit code 1 is that of a report that does not pass.
func (a *app) verifyWith(library string, flags, args []string) (*verify.Report, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line := append([]string{"verify", "--json", "--ort=" + library}, flags...)
	cmd := exec.CommandContext(a.ctx, program, append(append(line, "--"), args...)...)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	cmd.Args[0] = os.Args[0]
	err = cmd.Run()
	if a.ctx.Err() != nil {
		return nil, a.ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == exitMismatch) {
		code := exitUsage
		if exit != nil && exit.ExitCode() > 0 {
			code = exit.ExitCode()
		}
		text := strings.TrimPrefix(strings.TrimSpace(messages.String()), "aftonnx: ")
		return nil, &failure{code: code, err: fmt.Errorf("--ort %q: %s", library, text)}
	}
	var r verify.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("--ort %q: the report: %w", library, err)
	}
	return &r, nil
}

// repeated is the flags as they were given, without those that are about this process.
func repeated(flags *pflag.FlagSet) (list []string) {
	flags.Visit(func(f *pflag.Flag) {
		if slices.Contains([]string{"ort", "json", "layers", "html", "junit"}, f.Name) {
			return
		}
		if values, ok := f.Value.(pflag.SliceValue); ok {
			if f.Value.Type() == "stringArray" { // a value may hold commas
				for _, v := range values.GetSlice() {
					list = append(list, "--"+f.Name+"="+v)
				}
				return
			}
			list = append(list, "--"+f.Name+"="+strings.Join(values.GetSlice(), ","))
			return
		}
		list = append(list, "--"+f.Name+"="+f.Value.String())
	})
	return list
}
