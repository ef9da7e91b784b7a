package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// Every module that is linked into the product has terms that we know, and none whose terms would bind the product.
func TestLinkedModulesHaveLicences(t *testing.T) {
	t.Parallel()
	list, err := linked(filepath.Join(root, "cmd/spillway"))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 50 {
		t.Fatalf("only %d modules are linked", len(list))
	}
	for _, m := range list {
		name, err := m.licence()
		switch {
		case err != nil:
			t.Errorf("%s: %v", m.Path, err)
		case name == "":
			t.Errorf("%s has no licence that is known", m.Path)
		case strings.Contains(name, "GPL"):
			t.Errorf("%s is under %s", m.Path, name)
		}
	}
	var all bytes.Buffer
	if err := write(&all, list); err != nil {
		t.Error(err)
	}
}

// docs/dependencies.md names each direct dependency once, with the licence that its source has, and nothing else.
func TestDependenciesPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs/dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| ([^|]+) \\|$").FindAllStringSubmatch(string(page), -1) {
		if _, twice := rows[m[1]]; twice || strings.TrimSpace(m[3]) == "" {
			t.Errorf("%s stands there twice, or without a reason", m[1])
		}
		rows[m[1]] = strings.TrimSpace(m[2])
	}
	direct, err := directModules()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range direct {
		name, err := m.licence()
		if err != nil || rows[m.Path] != name || name == "" {
			t.Errorf("%s is under %q, the page says %q (%v)", m.Path, name, rows[m.Path], err)
		}
		delete(rows, m.Path)
	}
	for path := range rows {
		t.Errorf("%s is no direct dependency any more", path)
	}
}

// directModules are those that go.mod requires for our own packages, and those of its tools.
func directModules() (list []module, err error) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Tool []struct{ Path string }
	}
	out, err := exec.Command("go", "mod", "edit", "-json", filepath.Join(root, "go.mod")).Output()
	if err == nil {
		err = json.Unmarshal(out, &mod)
	}
	if err != nil {
		return nil, fmt.Errorf("read go.mod: %w", said(err))
	}
	args := []string{"list", "-m", "-json"}
	for _, r := range mod.Require {
		isTool := false
		for _, tool := range mod.Tool {
			isTool = isTool || strings.HasPrefix(tool.Path, r.Path+"/")
		}
		if !r.Indirect || isTool && r.Path != "go.temporal.io/sdk" {
			args = append(args, r.Path)
		}
	}
	out, err = exec.Command("go", args...).Output()
	if err != nil {
		return nil, said(err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var m module
		if err := dec.Decode(&m); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}
