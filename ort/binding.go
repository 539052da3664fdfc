//go:build cgo

package ort

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"unsafe"

	onnx "github.com/yalue/onnxruntime_go"
)

// This file is all that this package knows of onnxruntime_go, which keeps the environment, the options and the sessions.
// What it lacks (custom operators, float16 and rank-0 tensors, reading a session's own inputs) capi.go does through
// the pointers that its structs hold.

// binding is the engine made of onnxruntime_go.
type binding struct{}

// newEngine loads the library and starts its environment, without telemetry, once the pointers that this file takes out of
// onnxruntime_go have proved to be what they seem.
func newEngine(path string) (engine, string, error) {
	lib, err := loadLibrary(path)
	if err != nil {
		return nil, "", err
	}
	if !recent(lib.version) {
		return nil, "", &VersionError{Library: path, Found: lib.version}
	}
	if err := lib.use(); err != nil {
		return nil, "", err
	}
	// The same path as above, or the process would hold two copies of the library. Errors come back as values; with a
	// lower log level ONNX Runtime would also write them to standard error.
	onnx.SetSharedLibraryPath(path)
	if err := onnx.InitializeEnvironment(onnx.WithLogLevelFatal()); err != nil {
		releaseLibrary()
		return nil, "", err
	}
	b := binding{}
	if err := errors.Join(onnx.DisableTelemetry(), b.selfTest()); err != nil {
		return nil, "", errors.Join(err, b.close())
	}
	return b, lib.version, nil
}

const selfTestKey = "aftonnx.self_test"

// selfTest writes a setting through onnxruntime_go and reads it through the pointer.
func (binding) selfTest() error {
	o, err := onnx.NewSessionOptions()
	if err != nil {
		return err
	}
	defer o.Destroy()
	if err := o.AddSessionConfigEntry(selfTestKey, "1"); err != nil {
		return err
	}
	p, err := pointerIn(o, "OrtSessionOptions")
	if err != nil {
		return err
	}
	found, err := hasConfig(p, selfTestKey)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("onnxruntime_go keeps its session options elsewhere than expected: this version does not fit")
	}
	return nil
}

func (binding) close() error {
	releaseLibrary()
	return onnx.DestroyEnvironment()
}

// pointerIn returns the C pointer to that type which is the first field of the struct that v points to, through one more
// Go struct if that is the first field. Anything else is an error: another version of onnxruntime_go.
func pointerIn(v any, cType string) (unsafe.Pointer, error) {
	value := reflect.ValueOf(v)
	for range 2 {
		if value.Kind() != reflect.Pointer || value.IsNil() || value.Elem().Kind() != reflect.Struct {
			break
		}
		outer := value.Elem()
		if outer.NumField() == 0 || outer.Field(0).Kind() != reflect.Pointer || outer.Type().Field(0).Offset != 0 {
			break
		}
		field := outer.Field(0)
		if strings.HasSuffix(field.Type().Elem().Name(), cType) && field.UnsafePointer() != nil {
			return field.UnsafePointer(), nil
		}
		value = field
	}
	return nil, fmt.Errorf("onnxruntime_go: %T does not hold its %s first: this version does not fit", v, cType)
}

// newSession makes a session. onnxruntime_go wants to know names of inputs and outputs only for its own Run.
func (binding) newSession(m modelSource, so SessionOptions) (engineSession, error) {
	o, err := onnx.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer o.Destroy()
	if err := configure(o, so); err != nil {
		return nil, err
	}
	var s *onnx.DynamicAdvancedSession
	if m.path != "" { // onnxruntime_go never frees its C copy of the path
		s, err = onnx.NewDynamicAdvancedSession(m.path, nil, nil, o)
	} else {
		s, err = onnx.NewDynamicAdvancedSessionWithONNXData(m.data, nil, nil, o)
	}
	if err != nil {
		return nil, plain(err)
	}
	p, err := pointerIn(s, "OrtSession")
	if err != nil {
		return nil, errors.Join(err, s.Destroy())
	}
	return &boundSession{owner: s, session: p}, nil
}

// metadata looks a key up in the model's metadata_props.
func (b *boundSession) metadata(key string) (value string, ok bool, err error) {
	session, known := b.owner.(*onnx.DynamicAdvancedSession)
	if !known {
		return "", false, fmt.Errorf("onnxruntime_go: %T has no metadata: this version does not fit", b.owner)
	}
	m, err := session.GetModelMetadata()
	if err != nil {
		return "", false, err
	}
	defer func() { err = errors.Join(err, m.Destroy()) }()
	return m.LookupCustomMetadataMap(key)
}

// plain drops what onnxruntime_go puts before ONNX Runtime's own words.
func plain(err error) error {
	_, text, found := strings.Cut(err.Error(), "Error creating C session")
	if !found {
		return err
	}
	return errors.New(strings.TrimLeft(strings.TrimPrefix(text, " from file"), ": "))
}

func configure(o *onnx.SessionOptions, so SessionOptions) error {
	if so.Threads > 0 {
		if err := o.SetIntraOpNumThreads(so.Threads); err != nil {
			return err
		}
	}
	if so.NoSpinning || so.Threads > runtime.NumCPU() {
		// With more threads than processors, waiting ones that spin would take the processors from those that work.
		if err := o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"); err != nil {
			return err
		}
	}
	if so.Optimization != "" {
		level, ok := map[Optimization]onnx.GraphOptimizationLevel{
			OptimizeNone: onnx.GraphOptimizationLevelDisableAll, OptimizeBasic: onnx.GraphOptimizationLevelEnableBasic,
			OptimizeExtended: onnx.GraphOptimizationLevelEnableExtended, OptimizeAll: onnx.GraphOptimizationLevelEnableAll,
		}[so.Optimization]
		if !ok {
			return fmt.Errorf("optimization %q: unknown, want one of %v", so.Optimization, Optimizations())
		}
		if err := o.SetGraphOptimizationLevel(level); err != nil {
			return err
		}
	}
	if so.Dir != "" {
		if err := o.AddSessionConfigEntry("session.model_external_initializers_file_folder_path", so.Dir); err != nil {
			return err
		}
	}
	if so.NoKernels {
		return nil
	}
	p, err := pointerIn(o, "OrtSessionOptions")
	if err != nil {
		return err
	}
	return registerKernels(p)
}

// stopper ends a run from another goroutine.
type stopper struct{ o *onnx.RunOptions }

func newStopper() (stopper, unsafe.Pointer, error) {
	o, err := onnx.NewRunOptions()
	if err != nil {
		return stopper{}, nil, err
	}
	p, err := pointerIn(o, "OrtRunOptions")
	if err != nil {
		o.Destroy()
		return stopper{}, nil, err
	}
	return stopper{o}, p, nil
}

// stop can only fail on options that were destroyed, which close's caller rules out.
func (s stopper) stop() { s.o.Terminate() }

func (s stopper) close() { s.o.Destroy() }
