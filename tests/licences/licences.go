package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// module is a module that is linked into a program, and where its source lies.
type module struct {
	Path, Version, Dir string
	Main               bool
	Replace            *module
}

// linked lists the modules of the packages that a program is built from, on any of the systems that it is released for.
func linked(program string) ([]module, error) {
	seen := map[string]module{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		cmd := exec.Command("go", "list", "-deps", "-json=Module", program)
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cmd, said(err))
		}
		for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
			var p struct{ Module *module }
			if err := dec.Decode(&p); err != nil {
				return nil, err
			}
			if m := p.Module; m != nil && !m.Main {
				seen[m.Path] = *m
			}
		}
	}
	var list []module
	for _, m := range seen {
		if m.Replace != nil {
			m.Dir = m.Replace.Dir
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

func said(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

// licenceFile is what files with terms are called. A NOTICE goes with them: the Apache licence asks for it.
var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|patents)([-._].*)?$`)

// texts reads the files with terms of a module, by name. Modules that are parts of a repository may have none of their own: then those of
// the repository count, which the module cache does not hold, so an empty answer is for the caller to judge.
func (m module) texts() (map[string]string, error) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return nil, err
		}
		out[e.Name()] = string(text)
	}
	return out, nil
}

// known tells licences by words that only they have, the more particular first.
var known = []struct{ name, words string }{
	{"AGPL-3.0", "GNU AFFERO GENERAL PUBLIC LICENSE"}, {"LGPL", "GNU LESSER GENERAL PUBLIC LICENSE"}, {"GPL", "GNU GENERAL PUBLIC LICENSE"},
	{"MPL-2.0", "Mozilla Public License"}, {"Apache-2.0", "Apache License"},
	{"MIT", "Permission is hereby granted, free of charge, to any person"}, {"ISC", "Permission to use, copy, modify, and or distribute this software for any"},
	{"ISC", "Permission to use, copy, modify, and distribute this software for any"},
	{"BSD-3-Clause", "may be used to endorse or promote products"}, {"BSD-2-Clause", "Redistributions in binary form must reproduce"},
	{"Unlicense", "This is free and unencumbered software"}, {"CC0-1.0", "CC0 1.0"},
}

var space = regexp.MustCompile(`[\s*#/]+`)

// elsewhere are modules that are parts of a repository and hold no terms of their own: what stands for them, and where.
var elsewhere = map[string]struct{ licence, why string }{
	"github.com/cactus/go-statsd-client/statsd":    {"MIT", "a folder of github.com/cactus/go-statsd-client, whose module v5 holds the terms"},
	"github.com/nexus-rpc/nexus-proto-annotations": {"MIT", "the module holds no terms; those of its owner's github.com/nexus-rpc/sdk-go are meant"},
}

// licence names the terms of a module, or "" if they are not known.
func (m module) licence() (string, error) {
	texts, err := m.texts()
	if err != nil {
		return "", err
	}
	var names []string
	for file, text := range texts {
		if n := strings.ToLower(file); strings.HasPrefix(n, "notice") || strings.HasPrefix(n, "patents") {
			continue
		}
		flat := space.ReplaceAllString(text, " ")
		for _, k := range known {
			if strings.Contains(flat, k.words) {
				names = append(names, k.name)
				break
			}
		}
	}
	if e, ok := elsewhere[m.Path]; ok && len(names) == 0 {
		return e.licence, nil
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", "), nil
}

// write prints every module with its terms in full.
func write(w io.Writer, list []module) error {
	var without []string
	fmt.Fprintf(w, "Spillway is under the Apache License 2.0. It contains the modules below, under the terms of each.\n")
	for _, m := range list {
		texts, err := m.texts()
		if err != nil {
			return fmt.Errorf("%s: %w", m.Path, err)
		}
		name, err := m.licence()
		if err != nil {
			return err
		}
		if name == "" {
			without = append(without, m.Path)
			continue
		}
		fmt.Fprintf(w, "\n%s\n%s %s (%s)\n", strings.Repeat("=", 80), m.Path, m.Version, name)
		if e, ok := elsewhere[m.Path]; ok && len(texts) == 0 {
			fmt.Fprintf(w, "\n%s: %s\n", e.licence, e.why)
		}
		for _, file := range slices.Sorted(maps.Keys(texts)) {
			fmt.Fprintf(w, "\n--- %s\n\n%s\n", file, strings.TrimRight(texts[file], "\n"))
		}
	}
	if len(without) > 0 {
		return fmt.Errorf("no licence that is known in %s", strings.Join(without, ", "))
	}
	return nil
}
