// Package product builds the binary for tests that run it as a process.
//
// Warning: linking takes several seconds. A test process builds once, from its TestMain or through a sync.Once; `make test`
// builds once for all and names the result in SPILLWAY_BINARY.
package product

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Binary returns the path of a spillway binary made of the code beside this file. dir is where to put it if it has to be
// built.
func Binary(dir string) (string, error) {
	if path := os.Getenv("SPILLWAY_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "spillway")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/spillway")
	build.Dir = Root()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build spillway: %w\n%s", err, out)
	}
	return path, nil
}

// Root is the folder of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Long reports whether the long forms of tests are wanted: SPILLWAY_LONG=1.
func Long() bool { return os.Getenv("SPILLWAY_LONG") == "1" }
