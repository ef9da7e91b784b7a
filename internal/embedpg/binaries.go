package embedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// BinEnv names the environment variable that overrides the search for binaries: the folder that holds them.
const BinEnv = "SPILLWAY_PG_BIN"

// MinMajor is the oldest major version of PostgreSQL that is used.
const MinMajor = 14

// Binaries is one installation of PostgreSQL's server programs.
type Binaries struct {
	Dir     string
	Version string // as PostgreSQL says it: "15.13"
	Major   int
}

// usualFolders are where packages put the server's programs when they keep them out of PATH.
var usualFolders = [...]string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/libexec/postgresql*",
	"/usr/local/pgsql/bin",
	"/usr/bin",
}

// Find returns the server binaries to use: those that SPILLWAY_PG_BIN names, else those in PATH, else the newest in the
// usual folders. The error is ErrNoBinaries, or says what is wrong with the folder in SPILLWAY_PG_BIN.
func Find(ctx context.Context) (Binaries, error) {
	all, err := findAll(ctx)
	if err != nil {
		return Binaries{}, err
	}
	return all[0], nil
}

// findAll returns every usable installation, the preferred one first. It never returns an empty list without an error.
func findAll(ctx context.Context) ([]Binaries, error) {
	if dir := os.Getenv(BinEnv); dir != "" {
		b, err := probe(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("%s=%s: %w", BinEnv, dir, err)
		}
		return []Binaries{b}, nil
	}
	var found []Binaries
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil { // initdb may have no link beside it
			path = real
		}
		found = appendProbed(ctx, found, filepath.Dir(path))
	}
	var usual []Binaries
	for _, pattern := range usualFolders {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("look for PostgreSQL in %s: %w", pattern, err)
		}
		for _, dir := range dirs {
			usual = appendProbed(ctx, usual, dir)
		}
	}
	slices.SortStableFunc(usual, func(a, b Binaries) int { return b.Major - a.Major })
	found = append(found, usual...)
	if len(found) == 0 {
		return nil, ErrNoBinaries
	}
	return found, nil
}

func appendProbed(ctx context.Context, list []Binaries, dir string) []Binaries {
	b, err := probe(ctx, dir)
	if err != nil {
		return list // one broken installation must not hide a good one
	}
	return append(list, b)
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

func probe(ctx context.Context, dir string) (Binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, err
	}
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Binaries{}, err
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return Binaries{}, fmt.Errorf("unknown version %q", out)
	}
	major, err := strconv.Atoi(string(m[2]))
	if err != nil {
		return Binaries{}, err
	}
	if major < MinMajor {
		return Binaries{}, fmt.Errorf("version %s is too old, %d or newer is needed", m[1], MinMajor)
	}
	return Binaries{Dir: dir, Version: string(m[1]), Major: major}, nil
}

// choose picks the installation for a cluster of the given major version ("" for a new cluster).
func choose(ctx context.Context, dir, major string) (Binaries, error) {
	all, err := findAll(ctx)
	if err != nil {
		return Binaries{}, err
	}
	if major == "" {
		return all[0], nil
	}
	for _, b := range all {
		if strconv.Itoa(b.Major) == major {
			return b, nil
		}
	}
	return Binaries{}, &VersionError{Dir: dir, Major: major, Found: all}
}

// program is the path of one of the programs.
func (b Binaries) program(name string) string { return filepath.Join(b.Dir, name) }

var errNoAccount = errors.New("PostgreSQL does not run as root, and there is neither an account \"postgres\" nor \"nobody\" to run it")
