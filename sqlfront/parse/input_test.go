package parse

import (
	"slices"
	"strings"
	"testing"
)

// typed feeds a text line by line, and returns what came out, with how each line left the input.
func typed(text string) (out []string, waiting string, rest string) {
	var in Input
	for _, line := range strings.SplitAfter(text, "\n") {
		if line == "" {
			continue
		}
		in.Add(line)
		for {
			t, ok := in.Next()
			if !ok {
				break
			}
			if t.End == EndCommand {
				command, _ := in.Line()
				t.Text += " " + command
			}
			out = append(out, t.Text)
		}
		waiting += string(in.Waiting())
	}
	return out, waiting, in.Rest().Text
}

func TestInput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		want    []string
		waiting string
		rest    string
	}{
		{"SELECT 1;\n", []string{"SELECT 1"}, "=", ""},
		{"SELECT 1; SELECT 2; SELECT\n3;\n", []string{"SELECT 1", "SELECT 2", "SELECT\n3"}, "-=", ""},
		{"-- x; y\n;;\n\nSELECT 1 -- ; '\n;\n", []string{"SELECT 1 -- ; '"}, "===-=", ""},
		{"SELECT ';\n'';\n';\n", []string{"SELECT ';\n'';\n'"}, "''=", ""},
		{"SELECT \"a;\n\";\n", []string{"SELECT \"a;\n\""}, "\"=", ""},
		{"SELECT U&'\n', E'\\';\n';\n", []string{"SELECT U&'\n', E'\\';\n'"}, "''=", ""},
		{"DO $x$ ;\n$$;\n$x$;\n", []string{"DO $x$ ;\n$$;\n$x$"}, "$$=", ""},
		{"/* ;\n/* */\n */ SELECT 1;\n", []string{"SELECT 1"}, "**=", ""},
		{"SELECT (1;\n2);\n", []string{"SELECT (1;\n2)"}, "(=", ""},
		{"SELECT E'a'\n'\\'; x';\n", []string{"SELECT E'a'\n'\\'; x'"}, "-=", ""},
		{"SELECT E'a' -- c\n'\\'; x';\n", []string{"SELECT E'a' -- c\n'\\'; x'"}, "-=", ""},
		{"SELECT \"\";\n", []string{`SELECT ""`}, "=", ""},
		{"\\x on\nSELECT 1 \\g\nSELECT '\\x', (\n\\r\n", []string{` \x on`, `SELECT 1 \g`, "SELECT '\\x', ( \\r"}, "==(=", ""},
		{"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\nSELECT CASE WHEN true THEN 1; END; END;\nSELECT 2;\n",
			[]string{"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\nSELECT CASE WHEN true THEN 1; END; END", "SELECT 2"}, "-==", ""},
		{"SELECT 1;\n  -- nothing\n SELECT 2\n", []string{"SELECT 1"}, "==-", "SELECT 2"},
		{"SELECT 'open;\n", nil, "'", "SELECT 'open;"},
		{"'open;\n", nil, "'", "'open;"},
		{"-- only a comment", nil, "=", ""},
	} {
		got, waiting, rest := typed(c.text)
		if !slices.Equal(got, c.want) || waiting != c.waiting || rest != c.rest {
			t.Errorf("%q:\n got %q, waiting %q, rest %q\nwant %q, waiting %q, rest %q", c.text, got, waiting, rest, c.want, c.waiting, c.rest)
		}
	}
}

// What Input cuts is what Split cuts, however the text arrives.
func TestInputIsSplit(t *testing.T) {
	t.Parallel()
	text := "SELECT 1; -- a\n SELECT 'b;''c' ; DO $$ BEGIN; END $$;\n/* x; */ SELECT (';');\nSELECT \"q;\"\n, E'\\';' ;\nSELECT 9"
	var want []string
	for _, p := range Split(text, nil) {
		want = append(want, strings.TrimSpace(p.Text))
	}
	got, _, rest := typed(text)
	if got = append(got, rest); !slices.Equal(got, want) {
		t.Errorf("by lines\n%q, want\n%q", got, want)
	}
}

func TestInputLines(t *testing.T) {
	t.Parallel()
	var in Input
	var lines []int
	for _, add := range []string{"\n-- x\nSELECT 1;\n", "SELECT\n2; SELECT 3;\n", "COPY t FROM STDIN;\n", "data\n", "SELECT 4\n"} {
		in.Add(add)
		if add == "data\n" {
			if line, ok := in.Line(); !ok || line != "data" {
				t.Errorf("line %q, %v", line, ok)
			}
		}
		for {
			s, ok := in.Next()
			if !ok {
				break
			}
			lines = append(lines, s.Line)
			if strings.HasPrefix(s.Text, "COPY") {
				in.Line()
			}
		}
	}
	if last := in.Rest(); !slices.Equal(append(lines, last.Line), []int{3, 4, 5, 6, 8}) || last.Text != "SELECT 4" {
		t.Errorf("lines %v, then %+v", lines, last)
	}
	in.Add("SELECT 'x\n")
	in.Next()
	if in.Pending() != "SELECT 'x\n" {
		t.Errorf("pending %q", in.Pending())
	}
	in.Reset()
	in.Add("SELECT 5;\n")
	if s, ok := in.Next(); !ok || s.Text != "SELECT 5" || s.Line != 10 {
		t.Errorf("after a reset %+v", s)
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src, want string
		ok        bool
	}{
		{"SELECT 1", "SELECT 1", true},
		{"SELECT 1,\n  2 -- two; 'x\n  , 3", "SELECT 1, 2 , 3", true},
		{"SELECT /* a */ 1\r\n, 'b  c'", "SELECT /* a */ 1 , 'b  c'", true},
		{"SELECT 'a\nb'", "SELECT 'a\nb'", false},
		{"SELECT /* a\n */ 1", "SELECT /* a\n */ 1", false},
		{"SELECT 'a", "SELECT 'a", false},
	} {
		if got, ok := OneLine(c.src); got != c.want || ok != c.ok {
			t.Errorf("OneLine(%q) = %q, %v", c.src, got, ok)
		}
	}
}

func TestCopyDirection(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]CopyDirection{
		"COPY t FROM STDIN": CopyIn, "copy a.t (from, x) from stdin with (format csv)": CopyIn, "COPY (SELECT 1 FROM stdin) TO STDOUT": CopyOut,
		"/* c */ COPY t TO stdout": CopyOut, "COPY t FROM '/f'": CopyNone, "COPY t TO PROGRAM 'x'": CopyNone, "SELECT 1": CopyNone,
		`COPY "FROM" TO '/stdin'`: CopyNone, "COPY t FROM 'x": CopyNone, "": CopyNone,
	} {
		if got := Copy(src, nil); got != want {
			t.Errorf("Copy(%q) = %v, want %v", src, got, want)
		}
	}
}

func FuzzInput(f *testing.F) {
	f.Add("SELECT 1; SELECT 'a\n;' \\g\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<12 {
			return
		}
		typed(text)
		OneLine(text)
		Copy(text, nil)
	})
}
