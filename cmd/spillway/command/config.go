package command

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/words"
)

// setting is one value for a flag and where it came from, for error messages.
type setting struct {
	values []string
	source string // "SPILLWAY_ROWS", "spillway.yaml:3: rows"
}

// applySettings fills the flags that the command line left out: from the environment, then from the file of --config.
func applySettings(cmd *cobra.Command, env *Env) error {
	path, _ := cmd.Flags().GetString("config")
	if path == "" {
		path, _ = env.LookupEnv(envName("config"))
	}
	file := map[string]setting{}
	if path != "" {
		var err error
		if file, err = readConfig(path, knownFlags(cmd.Root())); err != nil {
			return err
		}
	}
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Changed || f.Name == "help" || f.Name == "config" {
			return
		}
		s, ok := file[f.Name]
		if v, found := env.LookupEnv(envName(f.Name)); found {
			s, ok = setting{values: []string{v}, source: envName(f.Name)}, true
		}
		if !ok {
			return
		}
		for _, v := range s.values {
			if e := cmd.Flags().Set(f.Name, v); e != nil {
				err = fail.Usagef("%s: %v", s.source, e)
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return checkOutput(cmd)
}

// envName returns the environment variable that stands for a flag.
func envName(flag string) string {
	return "SPILLWAY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// knownFlags returns the names of all flags of all commands: one file serves them all.
func knownFlags(root *cobra.Command) []string {
	seen := map[string]bool{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		add := func(f *pflag.Flag) { seen[f.Name] = f.Name != "help" && f.Name != "config" }
		c.Flags().VisitAll(add)
		c.PersistentFlags().VisitAll(add)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	var names []string
	for n, ok := range seen {
		if ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// readConfig reads a flat YAML mapping from flag names to values or lists of values. A key that no command knows is an
// error: a typing mistake must not silently mean the default.
func readConfig(path string, known []string) (map[string]setting, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &fail.Usage{Msg: fmt.Sprintf("config file: %v", err), Todo: "--config and SPILLWAY_CONFIG name a YAML file"}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fail.Usagef("config file %s: %v", path, err)
	}
	if len(doc.Content) == 0 {
		return map[string]setting{}, nil // empty, or comments only
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fail.Usagef("config file %s:%d: expected `name: value` lines", path, top.Line)
	}
	out := map[string]setting{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, val := top.Content[i], top.Content[i+1]
		where := fmt.Sprintf("%s:%d: %s", path, key.Line, key.Value)
		if !slices.Contains(known, key.Value) {
			return nil, &fail.Usage{
				Msg:  fmt.Sprintf("config file %s:%d: unknown key %q", path, key.Line, key.Value),
				Todo: strings.TrimPrefix(words.DidYouMean(words.Nearest(key.Value, known))+" known keys: ", " ") + strings.Join(known, ", "),
			}
		}
		if _, twice := out[key.Value]; twice {
			return nil, fail.Usagef("config file %s: given twice", where)
		}
		values, ok := scalars(val)
		if !ok {
			return nil, fail.Usagef("config file %s: expected a value or a list of values", where)
		}
		out[key.Value] = setting{values: values, source: "config file " + where}
	}
	return out, nil
}

// scalars returns the texts of a scalar, or of a list of scalars.
func scalars(n *yaml.Node) ([]string, bool) {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	values := []string{}
	for _, v := range nodes {
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
			return nil, false
		}
		values = append(values, v.Value)
	}
	return values, true
}
