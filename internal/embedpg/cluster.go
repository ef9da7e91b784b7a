package embedpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// Superuser is the name of the superuser of every cluster that this package makes.
const Superuser = "postgres"

const (
	confFile = "spillway.conf"
	newDir   = "pgdata.new"
)

// defaults are the settings of a private server; Options.Settings go on top. postgresql.auto.conf (ALTER SYSTEM) wins
// over both.
func defaults() map[string]string {
	return map[string]string{
		"max_connections":     "100",
		"password_encryption": "scram-sha-256",
		"log_line_prefix":     "%m [%p] %q%u@%d/%a ",
		"lc_messages":         "C", // launch looks for two messages in the log
		"logging_collector":   "off",
	}
}

// initCluster makes the cluster aside and renames it: a killed initdb leaves nothing that looks like a cluster.
func (f *folder) initCluster(ctx context.Context, bin Binaries) error {
	aside := filepath.Join(f.dir, newDir)
	var err error
	// C.UTF-8 knows letters beyond ASCII; not every system has it.
	for _, locale := range [...]string{"C.UTF-8", "C"} {
		if err := os.RemoveAll(aside); err != nil {
			return fmt.Errorf("make the cluster: %w", err)
		}
		if err = f.initdb(ctx, bin, aside, locale); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := includeConf(aside); err != nil {
		return fmt.Errorf("make the cluster: %w", err)
	}
	if err := os.Rename(aside, f.pgdata()); err != nil {
		return fmt.Errorf("make the cluster: %w", err)
	}
	return nil
}

func (f *folder) initdb(ctx context.Context, bin Binaries, dir, locale string) error {
	args := []string{
		"--pgdata=" + dir, "--username=" + Superuser, "--pwfile=" + filepath.Join(f.dir, passwordFile),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=" + locale, "--data-checksums", "--no-instructions",
	}
	if f.temp {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, bin.program("initdb"), args...)
	cmd.Dir = f.dir
	cmd.Env = environ(bin)
	cmd.SysProcAttr = f.account.attributes(syscall.SIGKILL)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// The signal at the parent's death follows the thread that started the child: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return &ProcessError{Program: "initdb", Err: errors.Join(err, ctx.Err()), Output: lastLines(out.String())}
	}
	return nil
}

// includeConf makes our settings override postgresql.conf without touching what the user writes there.
func includeConf(pgdata string) error {
	file, err := os.OpenFile(filepath.Join(pgdata, "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString("\n# Written at every start.\ninclude_if_exists = '" + confFile + "'\n")
	return errors.Join(err, file.Close())
}

func (f *folder) writeConf(settings map[string]string) error {
	all := defaults()
	maps.Copy(all, settings)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = '%s'\n", key, confEscaper.Replace(all[key]))
	}
	path := filepath.Join(f.pgdata(), confFile)
	if err := writeDurable(path, []byte(b.String())); err != nil {
		return fmt.Errorf("server's settings: %w", err)
	}
	return f.account.give(path)
}

var confEscaper = strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`)

// environ is ours without PostgreSQL's variables: PGOPTIONS or PGPORT of the user are not meant for a private server.
func environ(bin Binaries) []string {
	env := []string{"PATH=" + bin.Dir + string(os.PathListSeparator) + os.Getenv("PATH")}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "PATH" {
			continue
		}
		env = append(env, kv)
	}
	return env
}

// lastLines keeps the end of a program's output, where the reason is.
func lastLines(s string) string {
	const keep = 8
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > keep {
		lines = lines[len(lines)-keep:]
	}
	return strings.Join(lines, "\n")
}
