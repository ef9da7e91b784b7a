package obs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// levels are the methods of a logger, and which of their arguments is the message.
var levels = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1,
}

// TestLogMessagesAreConstant looks at every call of a logger in the product: its message is a constant, so that one search finds
// all lines of a kind; keys are constants too, and nothing that may be a secret is a value.
func TestLogMessagesAreConstant(t *testing.T) {
	t.Parallel()
	calls := 0
	eachFile(t, func(set *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			message, ok := logCall(call)
			if !ok {
				return true
			}
			calls++
			at := set.Position(call.Pos())
			if _, constant := call.Args[message].(*ast.BasicLit); !constant {
				t.Errorf("%s: the message is put together; put what differs into keys", at)
			}
			checkPairs(t, at, call.Args[message+1:])
			return true
		})
	})
	if calls < 50 {
		t.Errorf("only %d calls of loggers were found, which cannot be all", calls)
	}
}

// checkPairs looks at keys and values.
func checkPairs(t *testing.T, at token.Position, args []ast.Expr) {
	t.Helper()
	for i := 0; i+1 < len(args); i += 2 {
		switch key := args[i].(type) {
		case *ast.BasicLit:
		case *ast.SelectorExpr:
			if x, ok := key.X.(*ast.Ident); !ok || x.Name != "obs" || !strings.HasPrefix(key.Sel.Name, "Key") {
				t.Errorf("%s: key %d is none of internal/obs and no constant", at, i/2+1)
			}
		default:
			t.Errorf("%s: key %d is no constant", at, i/2+1)
		}
		ast.Inspect(args[i+1], func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			for _, word := range []string{"password", "secret", "databaseurl", "workerurl", "temporalstore", "predicate", "statement", "apikey"} {
				if strings.Contains(strings.ToLower(id.Name), word) && id.Name != "temporalStoreSchema" {
					t.Errorf("%s: the value of %d may be a secret or a row's: %s", at, i/2+1, id.Name)
				}
			}
			return true
		})
	}
}

// logCall reports whether a call is one of a logger, and which argument is its message.
func logCall(call *ast.CallExpr) (message int, ok bool) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return 0, false
	}
	message, ok = levels[sel.Sel.Name]
	if !ok || len(call.Args) <= message {
		return 0, false
	}
	name := ""
	switch x := sel.X.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	case *ast.CallExpr: // workflow.GetLogger(ctx)
		if s, ok := x.Fun.(*ast.SelectorExpr); ok {
			name = s.Sel.Name
		}
	}
	return message, slices.Contains([]string{"log", "logger", "slog", "getlogger"}, strings.ToLower(name))
}

// eachFile calls do for every file of the product that is no test.
func eachFile(t *testing.T, do func(*token.FileSet, *ast.File)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || slices.Contains([]string{"tests", "testdata", "bin"}, d.Name())):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err == nil {
			do(set, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
