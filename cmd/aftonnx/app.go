package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is one invocation. Results go to out; everything else goes to messages, prefixed "aftonnx: ", without capitals at
// the start or full stops at the end.
type app struct {
	ctx      context.Context
	in       io.Reader
	out      io.Writer
	messages io.Writer
	terminal bool // out is a terminal: tables are aligned and coloured, otherwise tab-separated
	progress bool // messages is a terminal: progress is shown
	colour   bool
	json     bool // --json: results as JSON instead of tables
	started  time.Time
	stepping bool // a step is on the terminal
}

// run executes one command line and returns the exit code. It touches no state of the process but the files it is asked
// to write, and ONNX Runtime's.
func run(ctx context.Context, args []string, in io.Reader, out, messages io.Writer) int {
	results := &resultWriter{w: out}
	a := &app{
		ctx: ctx, in: in, out: results, messages: messages,
		terminal: isTerminal(out), progress: isTerminal(messages), started: time.Now(),
	}
	a.colour = a.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(results)
	root.SetErr(messages)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = results.failure()
	}
	return a.conclude(err)
}

// resultWriter keeps the first error of writing results, so that no verb has to look at each line it prints. What comes
// after the error is dropped.
type resultWriter struct {
	w   io.Writer
	err error
}

func (r *resultWriter) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.w.Write(p)
	r.err = err
	return n, err
}

// failure is the error of the results that did not get through. A reader that went away, as head does, needs no message.
func (r *resultWriter) failure() error {
	switch {
	case r.err == nil:
		return nil
	case errors.Is(r.err, syscall.EPIPE):
		return &failure{code: exitUsage}
	}
	var p *fs.PathError
	if errors.As(r.err, &p) {
		return usagef("standard output: %w", p.Err)
	}
	return usagef("standard output: %w", r.err)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const rootLong = `aftonnx exports Attention Free Transformers (arXiv:2105.14103) to ONNX and cross-checks what it exports.

A layer becomes an operator of the domain ai.aft that carries a decomposition into standard operators: one file runs in
every ONNX Runtime, and faster where this project's kernels are registered.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "aftonnx",
		Short:         "Attention Free Transformers to ONNX and back",
		Long:          rootLong,
		Version:       version(),
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			fmt.Fprint(a.messages, cmd.UsageString())
			return &failure{code: exitUsage}
		},
	}
	root.SetVersionTemplate("aftonnx {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return flagError(err).hint("see %q", cmd.CommandPath()+" --help")
	})
	root.AddCommand(a.newCommand(), a.exportCommand(), a.fuseCommand(), a.verifyCommand(), a.runCommand(), a.generateCommand(),
		a.evalCommand(), a.classifyCommand(), a.inspectCommand(), a.opsCommand(), a.benchCommand(), a.doctorCommand(), a.runtimeCommand())
	root.AddCommand(helpTopics()...)
	return root
}

// version is the module's version as the Go tool stamped it, with the commit where it was built from a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func unknownVerb(root *cobra.Command, verb string) error {
	if verb == "version" {
		return usagef("unknown command %q", verb).hint("try: aftonnx --version")
	}
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef("unknown command %q", verb).hint("%s", nearest("commands", verb, names)).hint("see %q", "aftonnx --help")
}

func helpTopics() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:   "exit-codes",
			Short: "Exit codes",
			Long: `Exit codes:
  0    it worked; what was verified matches
  1    a mismatch: an exported file or an engine differs from the truth; no file was written
  2    usage: a flag or argument is wrong or missing, or the output cannot be written
  3    an input file is missing, damaged, or not what the command takes
  4    ONNX Runtime is missing or too old ("aftonnx doctor" says what was tried)
  130  interrupted`,
		},
		{
			Use:   "environment",
			Short: "Environment variables",
			Long: `Environment variables:
  AFTONNX_ORT_LIB                  the ONNX Runtime library to use, as --ort
  ONNXRUNTIME_SHARED_LIBRARY_PATH  the same, as other programs name it
  AFTONNX_OFFLINE=1                never fetch anything, as --offline
  NO_COLOR                         no colours, if not empty
  TMPDIR                           where npm unpacks a fetched ONNX Runtime; outputs are staged beside their target`,
		},
	}
}
