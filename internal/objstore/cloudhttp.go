package objstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// tune makes a transport fit for a cloud. A connection on which no byte moves for the time is given up, at whatever step: a
// silent server must not hold a chunk, and an upload may take as long as it moves.
func tune(t *http.Transport, idle time.Duration) {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &idleConn{Conn: c, idle: idle}, nil
	}
	t.MaxIdleConnsPerHost = 32
	t.IdleConnTimeout = min(t.IdleConnTimeout, idle/2)
	t.DisableCompression = true // ranges and lengths are those of the object
}

// idleConn moves its deadline on with every read and write.
type idleConn struct {
	net.Conn
	idle time.Duration
}

func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write moves the deadline of a read that waits for the answer meanwhile, too.
func (c *idleConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// fromEnv reads a variable that a storage names. What it holds is shown nowhere.
func fromEnv(name string) (string, error) {
	v := os.Getenv(name)
	if v == "" {
		return "", fmt.Errorf("%w: the environment variable %s, which the storage names, is not set in this process", ErrForbidden, name)
	}
	return v, nil
}

// openKind is the sentinel of an error of opening: no cloud was asked yet.
func openKind(err error) error {
	if errors.Is(err, ErrForbidden) {
		return ErrForbidden
	}
	return nil
}

// kindOfStatus is the kind of an error by the HTTP status of the answer, where the store's own word says no more.
func kindOfStatus(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrForbidden
	case http.StatusNotFound:
		return ErrNotExist
	case http.StatusPreconditionFailed:
		return ErrExists
	}
	return nil
}
