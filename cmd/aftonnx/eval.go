package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/infer"
	"github.com/aftonnx/aftonnx/task"
	"github.com/aftonnx/aftonnx/verify"
)

type evalFlags struct {
	infer   inferFlags
	text    string
	context int
	stride  int
	batch   int
	engines []string
}

func (a *app) evalCommand() *cobra.Command {
	var o evalFlags
	cmd := &cobra.Command{
		Use:   "eval MODEL --text FILE",
		Short: "Bits per byte of a text under a language model",
		Long: `Prints what a byte-level language model makes of a text, in bits per byte: -sum log2 p / (bytes - 1). MODEL is a checkpoint
or an ONNX model that takes input_ids and gives logits for 256 tokens, the bytes.

The first window covers bytes 0..N of the text, N being --context: each byte but the first is predicted from those before it.
Every further window starts --stride bytes later and scores what no window before it has; the last one ends with the text. With
several engines the text is scored on each.

` + enginesHelp,
		Args: exactly(1, "the model"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.eval(cmd, args[0], &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.text, "text", "", "the `FILE` to score; - reads standard input")
	f.IntVar(&o.context, "context", 0, contextHelp)
	f.IntVar(&o.stride, "stride", 0, "how many bytes later each window starts (0: half of --context)")
	f.IntVar(&o.batch, "batch", 8, "windows to run at once")
	f.StringSliceVar(&o.engines, "engine", []string{"kernel"},
		"engines to score on, a comma-separated `LIST` of kernel, portable, native, reference")
	a.addJSON(f, evalSchema)
	o.infer.add(f)
	return cmd
}

const evalSchema = "aftonnx.eval/1"

// evalView is the JSON form of an evaluation.
type evalView struct {
	Schema  string       `json:"schema"`
	Model   string       `json:"model"`
	Text    string       `json:"text"`
	Bytes   int          `json:"bytes"`
	Context int          `json:"context"`
	Stride  int          `json:"stride"`
	Windows int          `json:"windows"`
	Results []evalResult `json:"results"`
}

type evalResult struct {
	Engine      verify.Engine `json:"engine"`
	BitsPerByte float64       `json:"bits_per_byte"`
	Seconds     float64       `json:"seconds"`
	BytesPerSec float64       `json:"bytes_per_second"`
}

// maxText is how long a text may be: it is held in memory, and a gigabyte takes a model hours.
const maxText = 1 << 30

const maxBatch = 1024

func (a *app) eval(cmd *cobra.Command, path string, o *evalFlags) error {
	engines, err := parseEngines(o.engines)
	switch {
	case err != nil:
		return err
	case o.text == "":
		return usagef("missing flag: --text FILE")
	case o.batch < 1 || o.batch > maxBatch:
		return usagef("--batch %d: want 1..%d", o.batch, maxBatch)
	}
	if err := notNegative(cmd.Flags(), "context", "stride"); err != nil {
		return err
	}
	text, err := a.readText(o.text)
	if err != nil {
		return err
	}
	m, err := a.openInference(cmd, path, &o.infer)
	if err != nil {
		return err
	}
	model, err := task.NewByteModel(m.Ports())
	if err != nil {
		return inputf("%q: %w", path, err)
	}
	whole, err := m.As(false)
	if err != nil { // its own words, and its own form, serve
		whole = m
	}
	view := &evalView{Schema: evalSchema, Model: path, Text: o.text, Bytes: len(text), Stride: o.stride}
	if view.Context, err = contextOf(m, o.context); err != nil {
		return err
	}
	if view.Stride == 0 {
		view.Stride = max(1, view.Context/2)
	}
	if view.Stride > view.Context {
		return usagef("--stride %d: want at most the context, %d: bytes between two windows would not be scored", view.Stride, view.Context)
	}
	for _, e := range slices.Compact(engines) {
		if err := a.score(whole, model, text, e, view, o); err != nil {
			return a.languageError(path, e, err)
		}
	}
	return a.printEval(view)
}

// readText reads the text of --text.
func (a *app) readText(path string) ([]byte, error) {
	in, name := a.in, "standard input"
	if path != "-" {
		if err := checkRegular(path); err != nil {
			return nil, err
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, inputError(path, err)
		}
		defer f.Close()
		in, name = f, fmt.Sprintf("%q", path)
	}
	text, err := readLimited(in, name, maxText)
	if err == nil && len(text) < 2 {
		err = inputf("%s: has %d bytes, want 2 or more: the first one is not predicted", name, len(text))
	}
	return text, err
}

// score adds one engine's row.
func (a *app) score(m *infer.Model, model *task.ByteModel, text []byte, e verify.Engine, view *evalView, o *evalFlags) (err error) {
	if stateful, err := m.As(true); err == nil && e != verify.Reference && view.Context > task.ChunkLength {
		m = stateful // a window takes no more memory than a chunk
	}
	session, err := a.load(m, e, &o.infer)
	if err != nil {
		return err
	}
	defer session.Close()
	defer a.stepsDone()
	var decoder task.Decoder
	if m.Stateful() {
		decoder = m.Decoder(session, view.Context)
	} else if err := model.CheckCausal(a.ctx, session, view.Context); err != nil {
		return err
	}
	start := time.Now()
	s, err := model.Score(a.ctx, session, text, task.ScoreOptions{
		Context: view.Context, Stride: view.Stride, Batch: o.batch, Decoder: decoder,
		Progress: func(done, all int) { a.step(fmt.Sprintf("%s: %d of %d bytes", e, done, all)) },
	})
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	view.Windows = s.Windows
	view.Results = append(view.Results, evalResult{e, s.PerByte(), seconds, float64(len(text)) / seconds})
	return nil
}

func (a *app) printEval(view *evalView) error {
	if a.json {
		return a.printJSON(view)
	}
	t := &table{header: []string{"engine", "bits per byte", "bytes", "windows", "bytes/s"}}
	for _, r := range view.Results {
		t.add(string(r.Engine), fmt.Sprintf("%.6f", r.BitsPerByte), fmt.Sprint(view.Bytes), fmt.Sprint(view.Windows),
			fmt.Sprintf("%.0f", r.BytesPerSec))
	}
	a.printTable(t)
	return nil
}
