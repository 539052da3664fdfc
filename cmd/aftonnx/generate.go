package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/infer"
	"github.com/aftonnx/aftonnx/task"
	"github.com/aftonnx/aftonnx/verify"
)

type generateFlags struct {
	infer       inferFlags
	prompt      string
	tokens      int
	temperature float64
	topK        int
	seed        uint64
	context     int
	engine      string

	tokensSet bool // by the caller: then there are to be that many
}

func (a *app) generateCommand() *cobra.Command {
	var o generateFlags
	cmd := &cobra.Command{
		Use:   "generate MODEL --prompt TEXT",
		Short: "Continue a text with a language model",
		Long: `Prints the prompt and what a byte-level language model makes of it, byte by byte as it comes. MODEL is a checkpoint or an
ONNX model that takes input_ids and gives logits for 256 tokens, the bytes.

A byte is drawn from softmax(logits / temperature) over the --top-k most likely ones. The same model, engine, prompt, seed
and options give the same text.

A causal model that aftonnx reads keeps a state, and runs every byte once, at the same cost however long the text gets; the
file may be stateful or not. Where its positions end, so does the text. With --context, on --engine reference, and for other
models, the model is run anew for every byte on the last --context bytes of the text: what is longer slides out of the window.

On a terminal a character appears when its last byte is there, and what is no text appears as U+FFFD; anywhere else the bytes
are written as they are. Interrupted, the text so far stays.

` + enginesHelp,
		Args: exactly(1, "the model"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.generate(cmd, args[0], &o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.prompt, "prompt", "p", "", "the `TEXT` to continue; - reads it from standard input")
	f.IntVarP(&o.tokens, "tokens", "n", 200, "how many bytes to add; by default no more than the model has positions for")
	f.Float64Var(&o.temperature, "temperature", 0.8, "above 0: the lower, the likelier are likely bytes; 0: always the likeliest")
	f.IntVar(&o.topK, "top-k", 0, "draw from the `K` most likely bytes (0: from all)")
	f.Uint64Var(&o.seed, "seed", 0, "the seed of the draws")
	f.IntVar(&o.context, "context", 0, "run the model anew for every byte, on the last `N` bytes (0: as many as it reaches, or 256)")
	f.StringVar(&o.engine, "engine", "kernel", "kernel, portable, native or reference")
	a.addJSON(f, generateSchema)
	o.infer.add(f)
	return cmd
}

// A model may take any length; then a window of freeContext bytes is long enough to say something in.
const (
	freeContext = 256
	contextHelp = "the `N` bytes the model sees at most (0: as many as it reaches; 256 if any number will do)"
)

// contextOf settles --context: at most what a model reaches.
func contextOf(m *infer.Model, context int) (int, error) {
	reach := m.MaxLen()
	switch {
	case context > 0 && reach > 0 && context > reach:
		return 0, usagef("--context %d: the model reaches %d bytes", context, reach)
	case context > 0:
		return context, nil
	case reach > 0:
		return reach, nil
	}
	return freeContext, nil
}

func (o *generateFlags) check(cmd *cobra.Command) (verify.Engine, error) {
	o.tokensSet = cmd.Flags().Changed("tokens")
	engine, err := parseEngine(o.engine)
	switch {
	case err != nil:
		return "", err
	case !cmd.Flags().Changed("prompt"):
		return "", usagef("missing flag: --prompt TEXT")
	case o.tokens < 1:
		return "", usagef("--tokens %d: want 1 or more", o.tokens)
	case !(o.temperature >= 0 && o.temperature <= 1e6):
		return "", usagef("--temperature %v: want 0..1000000", o.temperature)
	case o.topK < 0 || o.topK > task.Tokens:
		return "", usagef("--top-k %d: want 0..%d", o.topK, task.Tokens)
	}
	return engine, notNegative(cmd.Flags(), "context")
}

// maxPrompt is far more than any model sees of a prompt.
const maxPrompt = 16 << 20

func (a *app) readPrompt(prompt string) ([]byte, error) {
	text := []byte(prompt)
	if prompt == "-" {
		var err error
		if text, err = readLimited(a.in, "standard input", maxPrompt); err != nil {
			return nil, err
		}
	}
	if len(text) == 0 {
		return nil, usagef("--prompt: is empty, want at least one byte to continue").hint(`a newline will do: --prompt $'\n'`)
	}
	return text, nil
}

func readLimited(r io.Reader, name string, limit int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, inputf("%s: %w", name, err)
	}
	if len(data) > limit {
		return nil, inputf("%s: has more than %d bytes", name, limit)
	}
	return data, nil
}

func (a *app) generate(cmd *cobra.Command, path string, o *generateFlags) error {
	engine, err := o.check(cmd)
	if err != nil {
		return err
	}
	prompt, err := a.readPrompt(o.prompt)
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
	view := &generateView{Schema: generateSchema, Model: path, Engine: engine, Prompt: string(prompt),
		Temperature: o.temperature, TopK: o.topK, Seed: o.seed}
	if engine != verify.Reference && !cmd.Flags().Changed("context") {
		stateful, err := m.As(true)
		if err == nil {
			return a.decode(stateful, model, prompt, view, o)
		}
		a.say("note: the model is run anew for every byte: %v", err)
	}
	return a.rerun(m, model, prompt, view, o)
}

// rerun generates with a model that is run anew for every byte.
func (a *app) rerun(m *infer.Model, model *task.ByteModel, prompt []byte, view *generateView, o *generateFlags) error {
	m, err := m.As(false)
	if err != nil {
		return inputf("%q: %w", view.Model, err)
	}
	if view.Context, err = contextOf(m, o.context); err != nil {
		return err
	}
	session, err := a.load(m, view.Engine, &o.infer)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := model.CheckCausal(a.ctx, session, view.Context); err != nil {
		return a.languageError(view.Model, view.Engine, err)
	}
	options := o.options()
	options.Context = view.Context
	err = a.stream(prompt, view, func(yield func(byte) error) error {
		return model.Generate(a.ctx, session, prompt, options, yield)
	})
	return a.languageError(view.Model, view.Engine, err)
}

// decode generates with a stateful model. Its last byte need not be run.
func (a *app) decode(m *infer.Model, model *task.ByteModel, prompt []byte, view *generateView, o *generateFlags) error {
	view.Stateful, view.Context = true, m.MaxLen()
	if room := view.Context - len(prompt) + 1; view.Context > 0 && room > 0 && !o.tokensSet {
		o.tokens = min(o.tokens, room)
	}
	needed := len(prompt) + o.tokens - 1
	if reach := view.Context; reach > 0 && needed > reach {
		hint := "--context N lets a window of the last N bytes slide over the text"
		if room := reach - len(prompt) + 1; room > 0 {
			hint = fmt.Sprintf("ask for --tokens %d, or %s", room, hint)
		}
		return usagef("--tokens %d: the model has %d positions, and %d bytes of prompt and text need %d",
			o.tokens, reach, len(prompt)+o.tokens, needed).hint("%s", hint)
	}
	session, err := a.load(m, view.Engine, &o.infer)
	if err != nil {
		return err
	}
	defer session.Close()
	err = a.stream(prompt, view, func(yield func(byte) error) error {
		return model.Continue(a.ctx, m.Decoder(session, needed), prompt, o.options(), yield)
	})
	return a.languageError(view.Model, view.Engine, err)
}

func (o *generateFlags) options() task.GenerateOptions {
	return task.GenerateOptions{Tokens: o.tokens, Temperature: o.temperature, TopK: o.topK, Seed: o.seed}
}

// languageError tells a model that is no causal one from an engine that fails.
func (a *app) languageError(path string, e verify.Engine, err error) error {
	if errors.Is(err, task.ErrNotCausal) {
		return inputf("%q: %w", path, err).hint("a checkpoint is read as causal with --causal")
	}
	return a.engineError(e, err)
}

const generateSchema = "aftonnx.generate/1"

// generateView is the JSON form of a generated text.
type generateView struct {
	Schema      string        `json:"schema"`
	Model       string        `json:"model"`
	Engine      verify.Engine `json:"engine"`
	Stateful    bool          `json:"stateful"` // every byte was run once
	Context     int           `json:"context"`  // the bytes of the window; of a stateful model where its positions end, 0: they do not
	Temperature float64       `json:"temperature"`
	TopK        int           `json:"top_k"`
	Seed        uint64        `json:"seed"`
	Prompt      string        `json:"prompt"`
	Text        string        `json:"text"`            // without the prompt; what is no UTF-8 is replaced
	Bytes       []byte        `json:"bytes,omitempty"` // the text in base64, where it is no UTF-8
	Tokens      int           `json:"tokens"`
	Seconds     float64       `json:"seconds"`
	PerSecond   float64       `json:"tokens_per_second"`
	Interrupted bool          `json:"interrupted"`
}

// stream generates and prints. What is there when the work is interrupted is printed too.
func (a *app) stream(prompt []byte, view *generateView, generate func(yield func(byte) error) error) error {
	out := &textWriter{w: a.out, terminal: a.terminal}
	if a.json {
		out = &textWriter{w: io.Discard}
	}
	out.write(prompt...)
	var text []byte
	start := time.Now()
	err := generate(func(b byte) error {
		text = append(text, b)
		out.write(b)
		return out.err
	})
	view.Seconds = time.Since(start).Seconds()
	out.end()
	if out.err != nil {
		return nil // the results' own failure says it
	}
	view.Text, view.Tokens, view.PerSecond = string(text), len(text), float64(len(text))/view.Seconds
	view.Interrupted = a.ctx.Err() != nil
	if !utf8.Valid(text) {
		view.Bytes = text
	}
	if err != nil && !view.Interrupted {
		return err
	}
	if a.json {
		return errors.Join(a.printJSON(view), err)
	}
	if a.progress {
		a.say("note: %d bytes in %.1f s, %.0f a second, engine %s", view.Tokens, view.Seconds, view.PerSecond, view.Engine)
	}
	return err
}

// textWriter writes bytes as they come. For a terminal it keeps back a character until it is whole, and writes U+FFFD for
// what is no text: a model's bytes must not drive the terminal.
type textWriter struct {
	w        io.Writer
	terminal bool
	kept     []byte
	last     byte
	err      error // the first of writing
}

func (t *textWriter) write(text ...byte) {
	if len(text) > 0 {
		t.last = text[len(text)-1]
	}
	if !t.terminal {
		t.put(text)
		return
	}
	t.kept = append(t.kept, text...)
	var ready bytes.Buffer
	for utf8.FullRune(t.kept) {
		r, size := utf8.DecodeRune(t.kept)
		t.kept = t.kept[size:]
		ready.WriteRune(visible(r))
	}
	t.put(ready.Bytes())
}

// visible is a character that only prints: control characters but newline and tab become U+FFFD.
func visible(r rune) rune {
	if r == '\n' || r == '\t' || unicode.IsPrint(r) {
		return r
	}
	return utf8.RuneError
}

func (t *textWriter) put(text []byte) {
	if t.err == nil && len(text) > 0 {
		_, t.err = t.w.Write(text)
	}
}

// end writes what was kept back, and on a terminal ends the line.
func (t *textWriter) end() {
	if !t.terminal {
		return
	}
	if len(t.kept) > 0 {
		t.put([]byte(string(utf8.RuneError)))
	}
	if t.last != '\n' {
		t.put([]byte("\n"))
	}
}
