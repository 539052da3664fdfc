package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aftonnx/aftonnx/import/onnxgraph"
	"github.com/aftonnx/aftonnx/internal/onnxpb"
	"github.com/aftonnx/aftonnx/internal/tensor"
	"github.com/aftonnx/aftonnx/ort"
)

// Engine is one independent implementation.
type Engine string

// The engines. Reference is the truth wherever there is a reference model, so its rows compare it with nothing.
const (
	Reference Engine = "reference" // Go, float64, the paper's loops
	Kernel    Engine = "kernel"    // ONNX Runtime with this project's kernels
	Portable  Engine = "portable"  // ONNX Runtime with the function bodies
	Native    Engine = "native"    // the Go graph, in float64: as it is, and with the function bodies in the nodes' place
)

// Engines returns all of them.
func Engines() []Engine { return []Engine{Reference, Kernel, Portable, Native} }

// ErrNothingToCompare says that the engines that were asked for leave nothing to compare: the reference alone, say.
var ErrNothingToCompare = errors.New("nothing was compared")

// wantedEngines are the engines that were asked for.
func (o *Options) wantedEngines() []Engine {
	if o.Engines == nil {
		return Engines()
	}
	return o.Engines
}

// anyCompared is ErrNothingToCompare if idle gives a reason for every engine that was asked for.
func (o *Options) anyCompared(idle func(Engine) string) error {
	var reasons []string
	for _, e := range o.wantedEngines() {
		reason := idle(e)
		if reason == "" {
			return nil
		}
		reasons = append(reasons, fmt.Sprintf("%s %s", e, reason))
	}
	return fmt.Errorf("%w: %s: choose another engine", ErrNothingToCompare, strings.Join(reasons, ", "))
}

// idleReference is why the reference is compared with nothing, "" for any other engine.
func idleReference(e Engine) string {
	if e == Reference {
		return "is the truth"
	}
	return ""
}

// engineSet is the engines of one verification.
type engineSet struct {
	list    []Engine // those that are there, without Reference
	status  []EngineStatus
	runtime *ort.Runtime
	threads int
	level   ort.Optimization
}

// openEngines finds out which of the wanted engines there are. A missing ONNX Runtime is a status, not an error.
func openEngines(ctx context.Context, wanted []Engine, threads int, open Opener) (*engineSet, error) {
	set := &engineSet{threads: threads}
	var missing error
	for _, e := range Engines() {
		if !slices.Contains(wanted, e) {
			continue
		}
		status := EngineStatus{Name: e}
		switch {
		case e == Reference:
			status.About = "Go, float64, the paper's loops"
		case e == Native:
			status.About = "Go graph, float64"
			set.list = append(set.list, e)
		default:
			if set.runtime == nil && missing == nil {
				if set.runtime, missing = open(ctx); missing != nil && ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
			}
			if missing != nil {
				status.Missing, status.err = missing.Error(), missing
				break
			}
			status.About = fmt.Sprintf("ONNX Runtime %s, %s", set.runtime.Version(), map[Engine]string{
				Kernel: "with the ai.aft kernels", Portable: "standard operators only",
			}[e])
			set.list = append(set.list, e)
		}
		set.status = append(set.status, status)
	}
	return set, nil
}

// Opener opens ONNX Runtime. It is called at most once a verification, and only if an engine needs it.
type Opener func(ctx context.Context) (*ort.Runtime, error)

func (s *engineSet) close() error {
	if s.runtime == nil {
		return nil
	}
	return s.runtime.Close()
}

// loadable is a model that engines load.
type loadable struct {
	data  []byte
	proto *onnxpb.ModelProto // the same, decoded
	dir   string             // the folder of its external data, "" for none
}

func newLoadable(p *onnxpb.ModelProto, dir string) (*loadable, error) {
	data, err := onnxpb.Encode(p)
	return &loadable{data, p, dir}, err
}

// program is a model loaded into an engine.
type program struct {
	engine  Engine
	session *ort.Session
	graph   *onnxgraph.Model
	bodies  *onnxgraph.Model // graph with its function bodies inlined; nil if it has none
	nodes   uint64           // its AFT nodes
	takes   map[string]bool  // its inputs
}

func (s *engineSet) load(e Engine, m *loadable) (*program, error) {
	p := &program{engine: e, nodes: countNodes(m.proto), takes: map[string]bool{}}
	for _, v := range m.proto.GetGraph().GetInput() {
		p.takes[v.GetName()] = true
	}
	var err error
	if e == Native {
		err = p.decode(m)
	} else {
		options := ort.SessionOptions{Threads: s.threads, NoKernels: e == Portable, Dir: m.dir, Optimization: s.level}
		p.session, err = s.runtime.LoadBytes(m.data, options)
	}
	if err != nil {
		return nil, fmt.Errorf("engine %s: %w", e, err)
	}
	return p, nil
}

func (p *program) decode(m *loadable) error {
	var err error
	if p.graph, err = onnxgraph.New(m.proto, onnxgraph.Options{Dir: m.dir}); err != nil || len(m.proto.GetFunctions()) == 0 {
		return err
	}
	p.bodies, err = onnxgraph.New(m.proto, onnxgraph.Options{Inline: true, Dir: m.dir})
	return err
}

// run gives the outputs and the number of kernel calls it made.
func (p *program) run(ctx context.Context, in map[string]*tensor.Tensor) (map[string]*tensor.Tensor, uint64, error) {
	return p.runAs(ctx, in, false)
}

// runAs is run, of the native engine with the function bodies in the nodes' place if so asked.
func (p *program) runAs(ctx context.Context, in map[string]*tensor.Tensor, bodies bool) (
	map[string]*tensor.Tensor, uint64, error) {
	if p.graph != nil {
		graph := p.graph
		if bodies {
			graph = p.bodies
		}
		out, err := graph.Run(ctx, in, onnxgraph.RunOptions{Wide: true})
		return out, 0, err
	}
	before := totalCalls()
	out, err := p.session.Run(ctx, in)
	return out, totalCalls() - before, err
}

// totalCalls counts the calls of the whole process: nothing else may run kernels meanwhile.
func totalCalls() uint64 {
	var n uint64
	for _, calls := range ort.KernelCalls() {
		n += calls
	}
	return n
}

func (p *program) close() error {
	if p.session == nil {
		return nil
	}
	return p.session.Close()
}

// closeAll closes programs and returns err and their errors, joined.
func closeAll(err error, programs map[Engine]*program) error {
	for _, p := range programs {
		err = errors.Join(err, p.close())
	}
	return err
}
