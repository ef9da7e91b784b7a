package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
)

const s3Bucket = "bench"

// measureS3 flushes events into a bucket of a server on this machine, and beside it into a folder.
func measureS3(ctx context.Context, b *bed, rep *report) error {
	t := tableNamed("events")
	const name = "flush to S3"
	if err := b.startS3(ctx); err != nil {
		rep.add(missing(name, err))
		return err
	}
	if err := b.createS3Storage(ctx); err != nil {
		rep.add(missing(name, err))
		return err
	}
	folder := b.jobContestant("to a folder", "")
	bucket := b.jobContestant("to S3", ", storage = bench_s3")
	flush := bucket.run
	bucket.run = func(ctx context.Context, t table) (int64, error) {
		n, err := flush(ctx, t)
		if at := bucket.job["location"]; err == nil && !strings.HasPrefix(at, "s3://"+s3Bucket+"/") {
			err = fmt.Errorf("the files went to %q", at)
		}
		return n, err
	}
	times := b.race(ctx, rep, t, b.cfg.rows, []*contestant{folder, bucket})
	rep.add(compare(name, times, bucket, folder).rate(b.cfg.rows))
	return errors.Join(folder.gone, bucket.gone)
}

// createS3Storage makes the storage by SQL, as an operator does.
func (b *bed) createS3Storage(ctx context.Context) (err error) {
	err = execAll(ctx, b.super,
		"DO $$ BEGIN IF to_regrole('spillway_operator') IS NULL THEN CREATE ROLE spillway_operator; END IF; END $$",
		"GRANT spillway_operator TO "+ownerRole)
	if err != nil {
		return err
	}
	r := &runner{b: b}
	if err := r.start(ctx, table{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	options := cloudtest.Options(b.s3.endpoint)
	var with []string
	for _, name := range slices.Sorted(maps.Keys(options)) {
		with = append(with, name+" = '"+options[name]+"'")
	}
	_, err = r.front.row(ctx, "CREATE STORAGE bench_s3 LOCATION 's3://"+s3Bucket+"/cold' WITH ("+strings.Join(with, ", ")+")")
	return err
}

// s3Server is a versitygw over a folder of the bed's. It runs until the bed is closed: the ledger's storage stays, and each `spillway
// up` looks at it.
type s3Server struct {
	endpoint string
	cmd      *exec.Cmd
	exited   chan struct{}
}

// startS3 builds and starts the server, with an empty bucket, and puts its keys into the environment of what is started later.
func (b *bed) startS3(ctx context.Context) error {
	path, err := cloudtest.Tool("versitygw")
	if err != nil {
		return notAvailable("%v", err)
	}
	dir, err := os.MkdirTemp(b.dir, "s3-")
	if err != nil {
		return err
	}
	buckets, meta := filepath.Join(dir, "buckets"), filepath.Join(dir, "meta")
	if err := errors.Join(os.MkdirAll(filepath.Join(buckets, s3Bucket), 0o750), os.Mkdir(meta, 0o750), cloudtest.SetKeys()); err != nil {
		return err
	}
	port, err := freeport.Pick("127.0.0.1")
	if err != nil {
		return err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	log := &tail{}
	s := &s3Server{endpoint: "http://" + address, exited: make(chan struct{})}
	s.cmd = exec.Command(path, "--access", cloudtest.AccessKey, "--secret", cloudtest.SecretKey, "--port", address, "--quiet", "posix", "--sidecar", meta, buckets)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() { _ = s.cmd.Wait(); close(s.exited) }()
	b.s3 = s
	return s.awaitListens(ctx, address, log)
}

func (s *s3Server) awaitListens(ctx context.Context, address string, log *tail) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-s.exited:
			return fmt.Errorf("versitygw ended: %s", log)
		case <-ctx.Done():
			return fmt.Errorf("versitygw does not listen: %s", log)
		}
	}
}

func (s *s3Server) stop() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.exited
}
