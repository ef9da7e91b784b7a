package parse

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A list without end is refused before it costs much.
func TestMaxObjects(t *testing.T) {
	t.Parallel()
	list := make([]string, MaxObjects+1)
	for i := range list {
		list[i] = fmt.Sprintf("'file:///%d'", i)
	}
	s, err := Parse("CLEANUP OBJECT "+strings.Join(list[1:], ", "), nil)
	if err != nil || len(s.(*Cleanup).Objects) != MaxObjects {
		t.Errorf("%d objects: %v", MaxObjects, err)
	}
	_, err = Parse("CLEANUP OBJECT "+strings.Join(list, ", "), nil)
	var e *Error
	if !errors.As(err, &e) || e.SQLState != InvalidParameter || e.Pos == 0 {
		t.Errorf("one more: %v", err)
	}
}
