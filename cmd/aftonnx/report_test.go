package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/verify"
)

func someReport() *verify.Report {
	return &verify.Report{
		Schema: verify.Schema, Subject: "m.onnx",
		Engines: []verify.EngineStatus{{Name: verify.Native}, {Name: verify.Portable, Missing: "no library"}},
		Results: []verify.Result{
			{
				Name: "y", Kind: verify.KindOutput, Engine: verify.Kernel, DType: "float32", Pass: true, Cases: 2, MaxAbs: 1e-6, MaxRel: 2e-6,
				Derived: "the kernel's rule", Calls: 3, Nodes: 3,
				Worst: &verify.Worst{Case: "x (1,2,3)", Index: []int{0, 1, 2}, Got: 1.25, Want: 1.5, Tolerance: 0.5},
			},
			{
				Name: "y", Kind: verify.KindOutput, Engine: verify.Native, DType: "float32", Cases: 2, Derived: "the native rule",
				Problem: "x (1,2,3): element [0 0 0] is 1, want 2", Located: "layers.1.aft",
			},
		},
		Covered: []string{"x (1,2,3)", "all 3 layers"},
		Notes:   []string{"a note"},
	}
}

func TestPrintReport(t *testing.T) {
	for name, test := range map[string]struct {
		terminal bool
		want     string
	}{
		"terminal": {true, `RESULT  ENGINE    TYPE     CASES  MAX ERROR  OF MAX    OBSERVED/ALLOWED  CALLS  VERDICT
y       kernel    float32  2      1.00e-06   2.00e-06  0.25/0.5 50%      3      pass
y       native    float32  2      0.00e+00   0.00e+00                           FAIL
        portable                                                                missing
tolerance, kernel float32: the kernel's rule
tolerance, native float32: the native rule
`},
		"piped": {false, `result	engine	type	cases	max error	of max	observed/allowed	calls	verdict	worst at	got	want	tolerance	derived from
y	kernel	float32	2	1.00e-06	2.00e-06	0.25/0.5 50%	3	pass	x (1,2,3) [0 1 2]	1.25	1.5	0.5	the kernel's rule
y	native	float32	2	0.00e+00	0.00e+00			FAIL					the native rule
	portable							missing					
`},
	} {
		var out bytes.Buffer
		a := &app{out: &out, terminal: test.terminal}
		if err := a.printReport(someReport(), false); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestExplain(t *testing.T) {
	var messages bytes.Buffer
	a := &app{messages: &messages}
	a.explain(someReport())
	want := `aftonnx: note: a note
aftonnx: covered: x (1,2,3); all 3 layers
aftonnx: y, native, float32: x (1,2,3): element [0 0 0] is 1, want 2
aftonnx:   first layer that differs: layers.1.aft
`
	if diff := cmp.Diff(want, messages.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// JSON has what was covered and the notes as fields; problems are for whoever reads the messages.
func TestExplain_json(t *testing.T) {
	var messages bytes.Buffer
	a := &app{messages: &messages, json: true}
	a.explain(someReport())
	if s := messages.String(); strings.Contains(s, "covered") || strings.Contains(s, "note") || !strings.Contains(s, "y, native") {
		t.Errorf("messages %q", s)
	}
}

func TestVerdict(t *testing.T) {
	var f *failure
	if err := verdict(someReport()); !errors.As(err, &f) || f.code != exitMismatch || !strings.Contains(err.Error(), "m.onnx") {
		t.Errorf("a failed row: %v", err)
	}
	r := someReport()
	r.Results = r.Results[:1]
	if err := verdict(r); !errors.As(err, &f) || f.code != exitUsage {
		t.Errorf("a report that compared nothing: %v", err)
	}
	r.Pass = true
	if err := verdict(r); err != nil {
		t.Errorf("a good report: %v", err)
	}
}
