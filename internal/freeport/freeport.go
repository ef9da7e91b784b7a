// Package freeport chooses TCP ports for servers that must be told a number before they listen.
//
// [Pick] avoids the range from which the kernel takes the source ports of outgoing connections, so that a server that is
// stopped and started again finds its port still free.
//
// Warning: nothing is reserved. Between the choice and the server's bind another process may take the port; the caller
// tries again.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Below Linux's default ephemeral range (32768 and up), above the ports that well-known servers use.
const (
	lowest  = 15000
	highest = 32000
	tries   = 64
)

// Pick returns a port on which host can listen now.
func Pick(host string) (int, error) {
	for range tries {
		port := lowest + rand.IntN(highest-lowest)
		if Check(host, port) == nil {
			return port, nil
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("listener has no TCP address")
	}
	return addr.Port, nil
}

// Check returns the error with which listening on host and port fails now, or nil.
func Check(host string, port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}
