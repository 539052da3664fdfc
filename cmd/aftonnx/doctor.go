package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/ops/kernel"
	"github.com/aftonnx/aftonnx/ort"
	"github.com/aftonnx/aftonnx/verify"
)

func (a *app) doctorCommand() *cobra.Command {
	var r runtimeFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Which ONNX Runtime is used, and whether it and the kernels work",
		Long: `Says which ONNX Runtime is used and how it was found, whether this build has the kernels, and runs every operator
once on every engine. It fetches nothing.`,
		Args: exactly(0, ""),
		RunE: func(*cobra.Command, []string) error { return a.doctor(&r) },
	}
	cmd.Flags().StringVar(&r.library, "ort", "", "the ONNX Runtime library to look at, `LIB` (default: found)")
	a.addJSON(cmd.Flags(), doctorSchema)
	return cmd
}

const doctorSchema = "aftonnx.doctor/1"

// diagnosis is the JSON form of what doctor finds.
type diagnosis struct {
	Schema  string  `json:"schema"`
	Version string  `json:"version"`
	Pass    bool    `json:"pass"` // every engine is there and matches
	Checks  []check `json:"checks"`
}

type check struct {
	Name   string `json:"name"`
	Result string `json:"result"` // pass, FAIL, found, missing or info
	Detail string `json:"detail"`
}

func (d *diagnosis) add(name, result, detail string) {
	d.Checks = append(d.Checks, check{name, result, detail})
}

func (a *app) doctor(r *runtimeFlags) error {
	d := &diagnosis{Schema: doctorSchema, Version: version()}
	d.add("aftonnx", wordInfo, fmt.Sprintf("%s, %s, %s/%s", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
	if err := kernel.Available(); err != nil {
		d.add("kernels", wordMissing, err.Error())
	} else {
		names := kernel.Instructions()
		d.add("kernels", wordPass, "compiled into this program, for "+names[len(names)-1])
	}
	r.offline = true
	lib, err := ort.Find(a.ctx, r.options(a))
	if err != nil {
		d.add("ONNX Runtime", wordMissing, firstLine(err))
	} else {
		d.add("ONNX Runtime", wordFound, lib.Version)
		d.add("library", wordInfo, lib.Path)
		d.add("found through", wordInfo, string(lib.Source))
	}
	failed, missing, err := a.selfTest(r, d)
	if err != nil {
		return err
	}
	d.Pass = !failed && missing == nil
	if a.json {
		err = a.printJSON(d)
	} else {
		t := &table{header: []string{"check", "result", "detail"}}
		for _, c := range d.Checks {
			t.add(c.Name, c.Result, printable(c.Detail))
		}
		a.printTable(t)
	}
	switch {
	case err != nil:
		return err
	case failed:
		return &failure{code: exitMismatch, err: errors.New("the self-test failed")}
	case missing != nil:
		return notFetched(missing)
	}
	return nil
}

// notFetched tells of a missing ONNX Runtime that doctor itself is why nothing was fetched, not a setting.
func notFetched(err error) error {
	var search *ort.MissingError
	if !errors.As(err, &search) {
		return &failure{code: exitRuntime, err: err}
	}
	told := *search
	told.Tried = slices.Clone(search.Tried)
	for i := range told.Tried {
		if s := told.Tried[i].Source; s == ort.SourceRelease || s == ort.SourceNPM {
			told.Tried[i].Err = errors.New("not fetched: doctor never fetches")
		}
	}
	return &failure{code: exitRuntime, err: &told}
}

// selfTest runs one small call of every operator and type on every engine that there is; missing is why one is not.
func (a *app) selfTest(r *runtimeFlags, d *diagnosis) (failed bool, missing, err error) {
	report, err := verify.Operators(a.ctx, verify.Options{Open: r.opener(a), Quick: true})
	if err != nil {
		if a.ctx.Err() != nil {
			return false, nil, err
		}
		d.add("self-test", wordFail, firstLine(err))
		return true, nil, nil
	}
	needs := "needs ONNX Runtime"
	if kernel.Available() != nil {
		needs = "needs cgo"
	}
	for _, e := range report.Engines {
		name := "engine " + string(e.Name)
		if e.Missing != "" {
			d.add(name, wordMissing, needs)
			continue
		}
		good, bad, problem := 0, 0, ""
		for _, row := range report.Results {
			switch {
			case row.Engine != e.Name:
			case row.Pass:
				good++
			default:
				bad++
				problem = fmt.Sprintf("%s %s: %s", row.Name, row.DType, row.Problem)
			}
		}
		switch {
		case bad > 0:
			failed = true
			d.add(name, wordFail, problem)
		case good > 0:
			d.add(name, wordPass, fmt.Sprintf("%d operators and types match the reference", good))
		default:
			d.add(name, wordInfo, e.About)
		}
	}
	return failed, report.Missing(), nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
