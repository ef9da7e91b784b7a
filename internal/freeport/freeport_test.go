package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/spillwaydb/spillway/internal/freeport"
)

func TestPick(t *testing.T) {
	t.Parallel()
	port, err := freeport.Pick("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatalf("picked port %d: %v", port, err)
	}
	defer l.Close()
	if err := freeport.Check("127.0.0.1", port); err == nil {
		t.Errorf("Check(%d) = nil for a port in use", port)
	}
}

func TestPickBadHost(t *testing.T) {
	t.Parallel()
	if _, err := freeport.Pick("203.0.113.1"); err == nil {
		t.Error("Pick on an address that is not ours: no error")
	}
}
