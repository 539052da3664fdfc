package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aftonnx/aftonnx/export"
	importer "github.com/aftonnx/aftonnx/import"
	"github.com/aftonnx/aftonnx/import/checkpoint"
	"github.com/aftonnx/aftonnx/internal/modelfile"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/verify"
)

type exportCommandFlags struct {
	runtime runtimeFlags
	source  importFlags
	export  exportFlags
	output  string
	verify  string
	engines []string
	seed    uint64
	data    string
	force   bool
}

func (e *exportFlags) add(f *pflag.FlagSet) {
	f.StringVar(&e.dtype, "dtype", "float32", "the type of weights and values: float32, float16 or float64")
	f.BoolVar(&e.flatten, "flatten", false, "standard operators only, no functions and no ai.aft")
	f.StringVar(&e.portableMath, "portable-math", "float", "the function bodies compute in float or double inside")
	f.IntVar(&e.opset, "opset", 0, "the version of the standard operators (0: 17)")
	f.BoolVar(&e.stateful, "stateful", false, "a language model that takes its text in chunks: past_* and position in, present_* out")
	f.BoolVar(&e.mask, "attention-mask", false, "take attention_mask, which removes padding from what positions look at")
}

func (a *app) exportCommand() *cobra.Command {
	var o exportCommandFlags
	cmd := &cobra.Command{
		Use:   "export CHECKPOINT [-o FILE.onnx]",
		Short: "Export a checkpoint to ONNX, then verify it",
		Long: `Exports a PyTorch or safetensors checkpoint of AFT layers, or an ONNX model exported before, to ONNX. The file is
verified before it gets its name: if an engine differs from the reference, the exit code is 1 and there is no file.

What the checkpoint's names do not say, --variant, --causal, --window, --heads and --grid do.`,
		Args: exactly(1, "the checkpoint"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.export(cmd, args[0], &o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "",
		"the `FILE.onnx` to write (default: the checkpoint's name, in the current directory)")
	f.StringVar(&o.verify, "verify", "auto",
		"auto (a short sequence), full (also the full length, kernels against bodies) or off")
	f.StringSliceVar(&o.engines, "engine", nil,
		"engines to verify with, a comma-separated `LIST` of kernel, portable, native (default: all)")
	f.Uint64Var(&o.seed, "seed", 0, "the seed of the inputs to verify with")
	f.StringVar(&o.data, "external-data", string(modelfile.Auto),
		"where weights go: auto (into the model up to 1 GiB), always or never beside it, or reuse (of a safetensors file)")
	f.BoolVar(&o.force, "force", false, "replace an existing file that aftonnx did not write")
	a.addJSON(f, exportSchema)
	o.source.add(f)
	o.export.add(f)
	o.runtime.add(f)
	return cmd
}

func (a *app) export(cmd *cobra.Command, path string, o *exportCommandFlags) error {
	source, err1 := o.source.options(cmd.Flags())
	options, err2 := o.export.options(source.Grid)
	engines, err3 := parseEngines(o.engines)
	if err := errors.Join(o.runtime.check(), err1, err2, err3); err != nil {
		return err
	}
	if !slices.Contains(modelfile.Placements(), modelfile.Placement(o.data)) {
		return usagef("--external-data %q: unknown, want auto, always, never or reuse", o.data)
	}
	if o.verify != "auto" && o.verify != "full" && o.verify != "off" {
		return usagef("--verify %q: unknown, want auto, full or off", o.verify)
	}
	target, err := a.exportTarget(path, o)
	if err != nil {
		return err
	}
	f, err := openFile(path)
	if err != nil {
		return err
	}
	err = f.keep(target.path)
	f.close()
	if err != nil {
		return err
	}
	model, from, err := importer.Load(path, source)
	if err != nil {
		return err
	}
	defer from.Close()
	for _, note := range append(from.Notes, export.Notes(model, options)...) {
		a.say("note: %s", note)
	}
	options.SourceSHA256 = from.SHA256
	a.step("writing " + target.path)
	staged, err := export.Stage(target.path, model, options, export.FileOptions{
		Force: target.replace, Placement: modelfile.Placement(o.data)})
	if err != nil {
		return stageError(path, err)
	}
	defer staged.Discard()
	view := newExportView(target.path, staged)
	if o.verify != "off" {
		v := verify.Options{
			Engines: engines, Seed: o.seed, Threads: o.runtime.threads, Open: o.runtime.opener(a), Progress: a.step,
			Grid: source.Grid, Full: o.verify == "full", Source: model,
		}
		if view.Report, err = a.verifyStaged(staged, target.path, v); err != nil {
			return err
		}
	}
	a.stepsDone()
	return a.finishExport(staged, view)
}

// stageError tells a model that cannot be written as it was asked for from an output that cannot be written.
func stageError(path string, err error) error {
	var (
		model      *export.ModelError
		value      *onnxpb.Error
		imported   *importer.Error
		unreadable *checkpoint.Error
	)
	if errors.As(err, &model) || errors.As(err, &value) || errors.As(err, &imported) || errors.As(err, &unreadable) {
		return inputf("%q: %w", path, err)
	}
	return outputError(err)
}

// verifyStaged judges the file that is about to be published. The report calls it by the name it will have.
func (a *app) verifyStaged(staged *export.Staged, name string, v verify.Options) (*verify.Report, error) {
	report, err := verify.Model(a.ctx, staged.Path(), v)
	a.stepsDone()
	if err != nil {
		return nil, err
	}
	report.Subject = name
	return report, nil
}

// finishExport publishes the file if it passed. The file is in place before anything is printed: a reader of the output
// that goes away changes nothing.
func (a *app) finishExport(staged *export.Staged, view *exportView) error {
	var judged error
	if view.Report != nil {
		judged = verdict(view.Report)
	}
	if err := a.ctx.Err(); err != nil {
		return err
	}
	if judged == nil {
		if err := staged.Commit(); err != nil {
			return outputError(err)
		}
		view.Written = true
	} else if err := staged.Discard(); err != nil {
		return errors.Join(judged, err)
	}
	if a.json {
		if err := a.printJSON(view); err != nil {
			return err
		}
	} else if view.Report != nil {
		a.printRows(view.Report)
	}
	if view.Report != nil {
		a.explain(view.Report)
	}
	if judged != nil {
		a.say("%q: not written", view.File)
		return judged
	}
	if !a.json {
		fmt.Fprintf(a.out, "%s: %d bytes%s, %s, opset %d, sha256 %s\n",
			printable(view.File), view.Bytes, view.weights(), view.Ops, view.Opset, view.SHA256)
	}
	if view.Report == nil {
		a.say("note: not verified (--verify off)")
	} else if note := partial(view.Report); note != "" {
		a.say("note: %s", note)
	}
	return nil
}

// partial says which engines an export was not verified on, "" if there are none.
func partial(r *verify.Report) string {
	var on, left []string
	runtime := false
	for _, e := range []verify.Engine{verify.Kernel, verify.Portable, verify.Native} {
		if !slices.ContainsFunc(r.Engines, func(s verify.EngineStatus) bool { return s.Name == e }) {
			left = append(left, string(e))
			continue
		}
		on = append(on, string(e))
		runtime = runtime || e != verify.Native
	}
	switch {
	case len(left) == 0:
		return ""
	case !runtime:
		return fmt.Sprintf("verified on %s only: ONNX Runtime did not run it", strings.Join(on, ", "))
	}
	return fmt.Sprintf("verified on %s only, not on %s", strings.Join(on, ", "), strings.Join(left, ", "))
}

const exportSchema = "aftonnx.export/1"

// exportView is the JSON form of an export.
type exportView struct {
	Schema    string         `json:"schema"`
	File      string         `json:"file"`
	Written   bool           `json:"written"`
	Bytes     int64          `json:"bytes"`                // of the model, without its data file
	Data      string         `json:"data,omitempty"`       // the file with the weights, in the model's folder
	DataBytes int64          `json:"data_bytes,omitempty"` // of that file
	Reused    int            `json:"reused,omitempty"`     // weights that stay in the file they were read from
	Ops       string         `json:"ops"`                  // AFT operators and how many
	Opset     int64          `json:"opset"`
	SHA256    string         `json:"sha256"` // of the model
	Report    *verify.Report `json:"verify"` // null with --verify off
}

func newExportView(path string, s *export.Staged) *exportView {
	return &exportView{
		Schema: exportSchema, File: path, Bytes: s.Bytes, Data: s.Data, DataBytes: s.DataBytes, Reused: s.Reused,
		Ops: summariseOps(s.Proto), Opset: opsetOf(s.Proto), SHA256: hex.EncodeToString(s.SHA256[:]),
	}
}

// weights says where the weights are that are not in the model.
func (v *exportView) weights() string {
	text := ""
	if v.Data != "" {
		text = fmt.Sprintf(", %d bytes of weights in %s", v.DataBytes, printable(v.Data))
	}
	if v.Reused > 0 {
		text += fmt.Sprintf(", %d weights left where they were read from", v.Reused)
	}
	return text
}

// target is where an export goes.
type target struct {
	path    string
	replace bool
}

// exportTarget settles the output before any work: its name, and whether what is there may be replaced.
func (a *app) exportTarget(input string, o *exportCommandFlags) (target, error) {
	path := o.output
	if path == "-" {
		return target{}, usagef("refusing to write a model to standard output").hint("name a file with -o")
	}
	if path == "" {
		base := filepath.Base(input)
		path = strings.TrimSuffix(base, filepath.Ext(base)) + ".onnx"
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil && !o.force { // a dangling link
			return target{}, usagef("%q: already exists", path).hint("give --force to replace it, or another name with -o")
		}
		return target{path, o.force}, nil
	}
	if err != nil {
		return target{}, usagef("%w", err)
	}
	if in, err := os.Stat(input); err == nil && os.SameFile(in, info) {
		return target{}, usagef("%q and %q are the same file", input, path).hint("give another output with -o")
	}
	if o.force || isOurs(path, info) {
		return target{path, true}, nil
	}
	if info.Mode().IsRegular() {
		return target{}, usagef("%q: already exists, and aftonnx did not write it", path).
			hint("give --force to replace it, or another name with -o")
	}
	return target{path, false}, nil // staging refuses it with the reason
}

// isOurs reports whether a file is an ONNX model that aftonnx exported.
func isOurs(path string, info fs.FileInfo) bool {
	if !info.Mode().IsRegular() || info.Size() > math.MaxInt32 {
		return false
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	m, err := onnxpb.Decode(data)
	return err == nil && m.GetProducerName() == export.Producer
}

func opsetOf(m *onnxpb.ModelProto) int64 {
	for _, o := range m.GetOpsetImport() {
		if o.GetDomain() == "" {
			return o.GetVersion()
		}
	}
	return 0
}

// summariseOps counts the AFT operators, or all nodes of a flattened model.
func summariseOps(m *onnxpb.ModelProto) string {
	var order []string
	count := map[string]int{}
	for _, n := range m.GetGraph().GetNode() {
		if n.GetDomain() == "" {
			continue
		}
		name := qualified(n.GetDomain(), n.GetOpType())
		if count[name] == 0 {
			order = append(order, name)
		}
		count[name]++
	}
	if order == nil {
		return fmt.Sprintf("%d standard nodes", len(m.GetGraph().GetNode()))
	}
	for i, name := range order {
		order[i] = fmt.Sprintf("%d %s", count[name], name)
	}
	return strings.Join(order, " + ")
}
