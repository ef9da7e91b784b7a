package layout

import (
	"errors"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
)

// A20: whatever a template and the values are, the directory is below the storage, and a name for a file fits into it; or there is an error
// that says what.
func FuzzPath(f *testing.F) {
	f.Add(DefaultPath, "app", "t", "../..")
	f.Add("{yyyy}/{column:at}-x", "..", ".", "\x00\u202e")
	f.Add("cold/{table}{namespace}", "/", "%2e%2e", strings.Repeat("ü", 200))
	f.Fuzz(func(t *testing.T, template, namespace, table, value string) {
		p, err := readPath(template)
		if err != nil {
			var pe *PathError
			if !errors.As(err, &pe) {
				t.Fatalf("%q: %v", template, err)
			}
			return
		}
		dir, err := p.expand(func(name string) pathValue {
			switch name {
			case "namespace":
				return pathValue{text: namespace}
			case "table":
				return pathValue{text: table}
			}
			return pathValue{text: value}
		})
		if err != nil {
			return
		}
		key := "x"
		if dir != "" {
			key = dir + "/x"
		}
		if len(key) < 1024 {
			if err := objstore.CheckKey(key); err != nil {
				t.Fatalf("%q of %q, %q, %q gives %q: %v", template, namespace, table, value, dir, err)
			}
		}
	})
}
