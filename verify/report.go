package verify

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Schema names the form of a Report as JSON. Fields are added under the same name; a changed meaning gets a new one.
const Schema = "aftonnx.verify/1"

// Report is what a verification found. Pass is whether every result passed and at least one engine was compared;
// an engine that is missing does not fail a report, Missing lists it.
type Report struct {
	Schema  string         `json:"schema"`
	Pass    bool           `json:"pass"`
	Subject string         `json:"subject"` // "operators", or the file
	Seed    uint64         `json:"seed"`
	Engines []EngineStatus `json:"engines"`
	Results []Result       `json:"results"`
	// Layers are the values at block boundaries and inside blocks, engine by engine, first to last. Empty where a model's
	// layers are not known.
	Layers []Layer `json:"layers"`
	// PreFlight says what of a model would not survive a naive AFT or float16; null where its layers are not known.
	PreFlight *PreFlight `json:"pre_flight"`
	Covered   []string   `json:"covered"` // what was run, in words
	Notes     []string   `json:"notes"`
}

// EngineStatus says what an engine was, or why it is missing.
type EngineStatus struct {
	Name    Engine `json:"name"`
	About   string `json:"about,omitempty"`
	Missing string `json:"missing,omitempty"`

	err error // the error behind Missing
}

// Result is one row: an operator, an output or the weights, on one engine.
type Result struct {
	Setting string `json:"setting,omitempty"` // what of a sweep it belongs to
	Name    string `json:"name"`              // the operator, the graph output, or "weights"
	Kind    Kind   `json:"kind"`
	Engine  Engine `json:"engine"`
	DType   string `json:"dtype"`
	Pass    bool   `json:"pass"`
	Cases   int    `json:"cases"`
	MaxAbs  Number `json:"max_abs"` // largest |got - want|; of a network, at its output, with all that added up on the way
	MaxRel  Number `json:"max_rel"` // the same over max|V| of its channel (operators) or max|want| (models)
	Derived string `json:"derived"` // the rule that the tolerance follows
	// Worst is where the error is the largest part of its tolerance, which need not be where it is MaxAbs; null if nothing
	// was compared. A Problem about an element is about this one.
	Worst  *Worst `json:"worst"`
	Finite int    `json:"finite"` // cases outside a body's range, held to being finite only
	// FiniteMaxAbs is their largest |got - want|, which MaxAbs leaves out and nothing is held against.
	FiniteMaxAbs Number `json:"finite_max_abs"`
	Calls        uint64 `json:"calls"`   // kernel calls counted
	Nodes        uint64 `json:"nodes"`   // kernel calls expected: AFT nodes run
	Problem      string `json:"problem"` // what failed, "" if it passed
	Located      string `json:"located"` // the first layer that differs, where that could be found out
	// Statistics of all elements and HeatMap of the value nearest to its tolerance; null if nothing was judged.
	Statistics *Statistics `json:"statistics"`
	HeatMap    *HeatMap    `json:"heat_map"`

	gathered gathering
	ratio    float64 // Worst.Ratio(); with no tolerance, the error
	ofWorst  bool    // Problem is about Worst
}

// Kind is what a row is about.
type Kind string

// The kinds of rows.
const (
	KindOperator Kind = "operator"
	KindOutput   Kind = "output"
	KindWeights  Kind = "weights"
	KindDigest   Kind = "digest"   // whether the weights are those of the export
	KindRounding Kind = "rounding" // informational: what rounding the weights does to the output
)

// Worst is the element whose error is the largest part of its tolerance. Rows of KindRounding have no tolerance, it is 0:
// theirs is the element with the largest error.
type Worst struct {
	Case      string `json:"case"`
	Index     []int  `json:"index"`
	Got       Number `json:"got"`
	Want      Number `json:"want"`
	Tolerance Number `json:"tolerance"`
}

// Error is |Got - Want|: +Inf where only one of them is a finite number.
func (w *Worst) Error() float64 { return distance(float64(w.Got), float64(w.Want)) }

// Ratio is error over tolerance: at most 1 where the element passes.
func (w *Worst) Ratio() float64 {
	return excess(float64(w.Got), float64(w.Want), float64(w.Tolerance))
}

// Label is the row's name, with what of a sweep it belongs to.
func (r *Result) Label() string {
	if r.Setting == "" {
		return r.Name
	}
	return r.Name + " (" + r.Setting + ")"
}

// Number is a float64 that JSON can carry when it is not finite: "NaN", "+Inf", "-Inf".
type Number float64

// MarshalJSON writes a number, or a string where JSON has none.
func (n Number) MarshalJSON() ([]byte, error) {
	v := float64(n)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return json.Marshal(strconv.FormatFloat(v, 'g', -1, 64))
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (n *Number) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("number %q: %w", s, err)
		}
		*n = Number(v)
		return nil
	}
	return json.Unmarshal(data, (*float64)(n))
}

// Missing returns the error of the first engine that should have run and could not, nil if there is none.
func (r *Report) Missing() error {
	for _, e := range r.Engines {
		if e.err != nil {
			return e.err
		}
	}
	return nil
}

// addWeights adds the row about a model's weights, if it has one.
func (r *Report) addWeights(s *subject, name string) error {
	row, told, err := s.weights(name)
	if err == nil && told {
		r.Results = append(r.Results, row)
	}
	return err
}

// conclude sets Pass from the rows.
func (r *Report) conclude() {
	compared := 0
	r.Pass = true
	for i := range r.Results {
		row := &r.Results[i]
		row.Statistics = row.gathered.statistics()
		r.Pass = r.Pass && row.Pass
		if row.Cases > 0 && row.Kind != KindRounding && row.Kind != KindWeights && row.Kind != KindDigest {
			compared++
		}
	}
	r.Pass = r.Pass && compared > 0
}
