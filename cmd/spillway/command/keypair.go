package command

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spillwaydb/spillway/internal/obs"
)

// keyPair is a certificate and its key, in files that may be replaced while the process runs.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	seen   [2]fileState
}

// fileState tells versions of a file apart.
type fileState struct {
	changed time.Time
	size    int64
}

func stateOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	return fileState{info.ModTime(), info.Size()}
}

// load reads the files.
func (p *keyPair) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = [2]fileState{stateOf(p.certFile), stateOf(p.keyFile)}
	pair, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err == nil {
		p.loaded = &pair
	}
	return err
}

// get is called at each handshake. While new files cannot be read, one of them missing or not yet replaced, the old ones
// serve on.
func (p *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := [2]fileState{stateOf(p.certFile), stateOf(p.keyFile)}
	p.mu.Lock()
	changed := now != p.seen
	p.mu.Unlock()
	if changed {
		if err := p.load(); err != nil {
			p.log.Warn("the new certificate cannot be used; the old one serves on", obs.KeyErr, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loaded, nil
}
