package clients

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/tests/product"
)

// scene is what every driver prints that plays it: queries, parameters, transactions, errors, COPY, notices, and our
// commands. A driver that lacks a feature says so in its line.
const scene = `query 42 héllo
parameters 7 héllo NULL
many rows 10000 50005000
transaction 2 0
error 22012
aborted 25P02 25P02
copy 3 6
notice hello
flush completed 5
jobs completed 5
shown completed 5
syntax 42601
unknown 42704
finished 55000
kill cancelling
killed cancelled
done
`

// TestClients lets every client play its part against one `spillway up`.
func TestClients(t *testing.T) {
	drivers := map[string]func(*testing.T, *rig, string) string{
		"pgx": pgxScene, "node": nodeScene, "jdbc": jdbcScene, "psycopg2": pythonScene("psycopg2"), "psycopg3": pythonScene("psycopg"), "psql": psqlScene,
	}
	var names []string
	for name := range drivers {
		names = append(names, name)
	}
	r := newRig(t, append(names, "bench", "bind")...)
	t.Run("200 idle clients", func(t *testing.T) { idleClients(t, r) }) // alone: it measures memory
	for name, play := range drivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.hold(t, name)
			if got := play(t, r, name); got != scene {
				t.Errorf("%s printed\n%s\nbut should have printed\n%s", name, got, scene)
			}
		})
	}
	for name, test := range map[string]func(*testing.T, *rig){
		"pgx modes": pgxModes, "pgbench": pgbench, "psql bind": psqlBind, "same output": sameOutput, "tools": tools, "TLS": overTLS, "dump": dump, "views": views,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, r)
		})
	}
}

// hold locks the client's second table while the test runs, so that a flush of it cannot end by itself.
func (r *rig) hold(t *testing.T, name string) {
	t.Helper()
	conn := r.db.Connect(t, r.db.OwnerURL)
	tx, err := conn.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE app."+name+"_held IN ACCESS EXCLUSIVE MODE")
	must(t, err)
	t.Cleanup(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// script is the path of a file in testdata.
func script(name string) string {
	return filepath.Join(product.Root(), "tests", "clients", "testdata", name)
}

func nodeScene(t *testing.T, r *rig, name string) string {
	node := find(t, "node", "nodejs")
	path := strings.Join([]string{os.Getenv("NODE_PATH"), clientsDir("node_modules"), "/usr/share/nodejs"}, string(os.PathListSeparator))
	env := []string{"NODE_PATH=" + path}
	found := commandIn(t, env, "", node, "-e", "try { require('pg'); console.log('yes') } catch { console.log('no') }")
	if strings.TrimSpace(found) != "yes" {
		t.Skip("the npm package pg is not on this machine: .ci/run says how it is installed")
	}
	return commandIn(t, env, "", node, script("scene.js"), r.through(t, r.db.OwnerURL), name)
}

// clientsDir is where .ci/run puts what no package of the system holds.
func clientsDir(name string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return name
	}
	return filepath.Join(cache, "spillway-clients", name)
}

func jdbcScene(t *testing.T, r *rig, name string) string {
	find(t, "javac", "default-jdk-headless") // the launcher compiles the one file by itself
	java := find(t, "java", "default-jdk-headless")
	const driver = "/usr/share/java/postgresql.jar"
	if _, err := os.Stat(driver); err != nil {
		t.Skip("the JDBC driver is not on this machine: install libpostgresql-jdbc-java to run this test")
	}
	return command(t, java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", driver, script("Scene.java"), r.through(t, r.db.OwnerURL), name)
}

func pythonScene(module string) func(*testing.T, *rig, string) string {
	return func(t *testing.T, r *rig, name string) string {
		for _, python := range []string{"/usr/bin/python3", "python3"} { // Debian's packages are for Debian's Python
			if strings.TrimSpace(tryPython(t, python, module)) == "yes" {
				return command(t, python, script("scene_"+module+".py"), r.through(t, r.db.OwnerURL), name)
			}
		}
		t.Skipf("%s is not on this machine: install python3-%s to run this test", module, module)
		return ""
	}
}

func tryPython(t *testing.T, python, module string) string {
	t.Helper()
	if _, err := os.Stat(python); err != nil && filepath.IsAbs(python) {
		return ""
	}
	if !filepath.IsAbs(python) {
		python = find(t, python, "python3")
	}
	return command(t, python, "-c", "import importlib.util; print('yes' if importlib.util.find_spec('"+module+"') else 'no')")
}
