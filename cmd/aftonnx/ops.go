package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/ops"
)

func (a *app) opsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ops [NAME]",
		Short: "The operator set, from its declarations; run one operator",
		Args:  between(0, 1, "an operator"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return a.showOp(args[0])
			}
			return a.listOps()
		},
	}
	a.addJSON(cmd.Flags(), opsSchema)
	cmd.AddCommand(a.opsRunCommand())
	return cmd
}

const opsSchema = "aftonnx.ops/1"

// opSet is the JSON form of the operator set.
type opSet struct {
	Schema    string   `json:"schema"`
	Domain    string   `json:"domain"`
	Version   int      `json:"version"`
	Operators []opView `json:"operators"`
}

type opView struct {
	Name    string     `json:"name"`
	Summary string     `json:"summary"`
	Doc     string     `json:"doc"`
	Inputs  []portView `json:"inputs"`
	Output  portView   `json:"output"`  // the first of outputs
	Outputs []portView `json:"outputs"` // Y, then the state that a step form hands on
	Attrs   []attrView `json:"attributes"`
}

type portView struct {
	Name string   `json:"name"`
	Type string   `json:"type"`
	Dims []string `json:"dims"`
	Doc  string   `json:"doc"`
}

type attrView struct {
	Name   string `json:"name"`
	Values int    `json:"values"` // how many integers it holds
	Doc    string `json:"doc"`
}

func viewOps(defs []*ops.Def) opSet {
	set := opSet{Schema: opsSchema, Domain: ops.Domain, Version: ops.Version}
	for _, d := range defs {
		v := opView{Name: d.Name, Summary: d.Summary, Doc: d.Doc, Output: viewPort(d.Outputs[0]), Attrs: []attrView{}}
		for _, p := range d.Inputs {
			v.Inputs = append(v.Inputs, viewPort(p))
		}
		for _, p := range d.Outputs {
			v.Outputs = append(v.Outputs, viewPort(p))
		}
		for _, attr := range d.Attrs {
			v.Attrs = append(v.Attrs, attrView{attr.Name, max(attr.Len, 1), attr.Doc})
		}
		set.Operators = append(set.Operators, v)
	}
	return set
}

func viewPort(p ops.Port) portView { return portView{p.Name, string(p.Type), p.Dims, p.Doc} }

func (a *app) listOps() error {
	if a.json {
		return a.printJSON(viewOps(ops.All()))
	}
	t := &table{header: []string{"operator", "inputs", "attributes", "summary"}}
	for _, d := range ops.All() {
		t.add(ops.Domain+"."+d.Name, joinPorts(d.Inputs), joinAttrs(d.Attrs), d.Summary)
	}
	a.printTable(t)
	return nil
}

func joinPorts(ports []ops.Port) string {
	s := ""
	for i, p := range ports {
		if i > 0 {
			s += ", "
		}
		s += p.Name
	}
	return s
}

func joinAttrs(attrs []ops.Attr) string {
	s := ""
	for i, attr := range attrs {
		if i > 0 {
			s += ", "
		}
		s += attr.Name
	}
	return s
}

func (a *app) showOp(name string) error {
	d, err := lookupOp(name)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(viewOps([]*ops.Def{d}))
	}
	fmt.Fprint(a.out, d.Markdown())
	return nil
}

func lookupOp(name string) (*ops.Def, error) {
	if d, ok := ops.Lookup(name); ok {
		return d, nil
	}
	var names []string
	for _, d := range ops.All() {
		names = append(names, d.Name)
	}
	return nil, usagef("operator %q: unknown", name).hint("%s", nearest("operators", name, names))
}
