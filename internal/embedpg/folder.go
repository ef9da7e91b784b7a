package embedpg

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spillwaydb/spillway/internal/filelock"
)

const (
	lockFile     = "lock"
	passwordFile = "password"
	logFile      = "postgres.log"
	clusterDir   = "pgdata"
	socketDir    = "sock"

	tempPrefix = "spillway-pg-"
	maxLog     = 16 << 20 // a larger log is put aside at the next start
)

// folder is the place of one server on disk, locked for this process.
type folder struct {
	dir      string
	socket   string
	temp     bool // ours: removed when the server stops
	account  account
	lock     *filelock.Lock
	password string
}

func (f *folder) pgdata() string { return filepath.Join(f.dir, clusterDir) }
func (f *folder) log() string    { return filepath.Join(f.dir, logFile) }

// openFolder makes or takes the folder and locks it.
func openFolder(dir string) (*folder, error) {
	if dir == "" {
		return openTemp()
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL folder: %w", err)
	}
	f := &folder{dir: abs}
	if f.account, err = pickAccount(f.pgdata()); err != nil {
		return nil, err
	}
	if err := f.account.canReach(abs); err != nil {
		return nil, err
	}
	if err := f.make(); err != nil {
		return nil, err
	}
	return f, f.take()
}

// openTemp makes a folder of its own, where the account can reach it: under root, TMPDIR may be root's alone.
func openTemp() (*folder, error) {
	acct, err := pickAccount("")
	if err != nil {
		return nil, err
	}
	var firstErr error
	for _, parent := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		dir, err := makeTemp(parent, acct)
		if err == nil {
			f := &folder{dir: dir, temp: true, account: acct}
			return f, f.take()
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return nil, fmt.Errorf("temporary folder for PostgreSQL: %w", firstErr)
}

func makeTemp(parent string, acct account) (string, error) {
	if err := acct.canReach(filepath.Join(parent, tempPrefix)); err != nil {
		return "", err
	}
	sweepTemp(parent, acct)
	dir, err := os.MkdirTemp(parent, tempPrefix)
	if err != nil {
		return "", err
	}
	return dir, acct.give(dir)
}

// make creates the folder, or checks that the one that is there is ours or empty.
func (f *folder) make() error {
	if err := os.MkdirAll(filepath.Dir(f.dir), 0o755); err != nil {
		return fmt.Errorf("PostgreSQL folder: %w", err)
	}
	err := os.Mkdir(f.dir, 0o700)
	if err == nil {
		return f.account.give(f.dir)
	}
	if !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("PostgreSQL folder: %w", err)
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("PostgreSQL folder: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(f.dir, lockFile)); err != nil && len(entries) > 0 {
		return &FolderError{Dir: f.dir, Msg: "it is not empty and holds no server of ours"}
	}
	return errors.Join(os.Chmod(f.dir, 0o700), f.account.give(f.dir))
}

func (f *folder) take() error {
	lock, err := filelock.Acquire(filepath.Join(f.dir, lockFile))
	var held *filelock.HeldError
	if errors.As(err, &held) {
		return &InUseError{Dir: f.dir, PID: held.PID}
	}
	if err != nil {
		return err
	}
	f.lock = lock
	return f.account.give(filepath.Join(f.dir, lockFile))
}

// release gives the lock back, and removes the folder if it was a temporary one.
func (f *folder) release() error {
	var err error
	if !strings.HasPrefix(f.socket, f.dir) && f.socket != "" {
		err = os.RemoveAll(f.socket)
	}
	if f.temp {
		err = errors.Join(err, os.RemoveAll(f.dir))
	}
	if f.lock != nil {
		err = errors.Join(err, f.lock.Release())
	}
	return err
}

// makeSocketDir chooses a private folder for the Unix socket, short enough for sockaddr_un (104 bytes on some systems).
func (f *folder) makeSocketDir() error {
	dir := filepath.Join(f.dir, socketDir)
	if len(dir)+len("/.s.PGSQL.65535.lock") < 100 {
		if err := os.RemoveAll(dir); err != nil { // what a killed server left
			return fmt.Errorf("socket folder: %w", err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("socket folder: %w", err)
		}
		f.socket = dir
		return f.account.give(dir)
	}
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		if len(parent) > 60 || f.account.canReach(filepath.Join(parent, tempPrefix)) != nil {
			continue
		}
		short, err := os.MkdirTemp(parent, tempPrefix+"s")
		if err != nil {
			return fmt.Errorf("socket folder: %w", err)
		}
		f.socket = short
		return f.account.give(short)
	}
	return fmt.Errorf("no folder with a short path for the PostgreSQL socket")
}

// readPassword reads the superuser's password, or makes one when there is no cluster yet.
func (f *folder) readPassword(fresh bool) error {
	path := filepath.Join(f.dir, passwordFile)
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 1 {
		f.password = strings.TrimSpace(string(b))
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("superuser's password: %w", err)
	}
	if !fresh {
		return &FolderError{Dir: f.dir, Msg: "the cluster is there but the file \"password\" of its superuser is missing"}
	}
	f.password = rand.Text()
	if err := writeDurable(path, []byte(f.password+"\n")); err != nil {
		return fmt.Errorf("superuser's password: %w", err)
	}
	return f.account.give(path)
}

// major is the version of the cluster in the folder, "" when there is none.
func (f *folder) major() (string, error) {
	b, err := os.ReadFile(filepath.Join(f.pgdata(), "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("version of the cluster: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (f *folder) openLog() (*os.File, error) {
	if info, err := os.Stat(f.log()); err == nil && info.Size() > maxLog {
		if err := os.Rename(f.log(), f.log()+".1"); err != nil {
			return nil, fmt.Errorf("put the server's log aside: %w", err)
		}
	}
	file, err := os.OpenFile(f.log(), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("server's log: %w", err)
	}
	return file, f.account.give(f.log())
}

// writeDurable writes a small private file so that it is whole or absent after a crash.
func writeDurable(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
