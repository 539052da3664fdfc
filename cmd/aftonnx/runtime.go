package main

import (
	"github.com/spf13/cobra"

	"github.com/aftonnx/aftonnx/ort"
)

func (a *app) runtimeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runtime",
		Short: "Manage the ONNX Runtime library",
		Args:  between(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("%s: missing command", cmd.CommandPath()).hint("try: aftonnx runtime install")
		},
	}
	cmd.AddCommand(a.runtimeInstallCommand())
	return cmd
}

const runtimeSchema = "aftonnx.runtime/1"

// installed is the JSON form of what runtime install did.
type installed struct {
	Schema  string `json:"schema"`
	Path    string `json:"path"`
	Version string `json:"version"`
	Source  string `json:"source"`
}

func (a *app) runtimeInstallCommand() *cobra.Command {
	var r runtimeFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Fetch the ONNX Runtime library into the user's cache, checked by its SHA-256",
		Args:  exactly(0, ""),
		RunE: func(*cobra.Command, []string) error {
			lib, err := ort.Fetch(a.ctx, r.options(a))
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(installed{runtimeSchema, lib.Path, lib.Version, string(lib.Source)})
			}
			t := &table{header: []string{"library", "version", "source"}}
			t.add(lib.Path, lib.Version, string(lib.Source))
			a.printTable(t)
			return nil
		},
	}
	cmd.Flags().BoolVar(&r.offline, "offline", false, "never fetch anything: say whether the cache has it")
	a.addJSON(cmd.Flags(), runtimeSchema)
	return cmd
}
