package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/internal/pause"
)

const (
	tailProgram = "tail"
	// tails is how many readers follow a file at once, and mostTailsMB what they may take in MB of 2^20 bytes.
	tails       = 200
	mostTailsMB = 50
	// tailed is how much each reader is to have read, a few seconds' worth of what the app writes.
	tailed = 512 << 10
)

// chatter says 4 KB ten times a second.
const chatter = "#!/usr/bin/env bash\nwhile true; do printf '%4095s\\n' x; sleep 0.1; done\n"

// measureFiles measures what readers that follow a file take of the worker's memory.
func measureFiles(ctx context.Context, s *stack.Stack, quick bool) (_ []benchmark.Row, failed error) {
	content, err := chatterZip()
	if err != nil {
		return nil, err
	}
	instance, end, err := runOne(ctx, s, content, func(spec *api.AppSpec) { spec.Message.URIs = nil }) // it listens nowhere
	if err != nil {
		return nil, err
	}
	defer func() { failed = errors.Join(failed, end()) }()
	if !quick && !pause.For(ctx, settle) {
		return nil, ctx.Err()
	}
	grown, err := tailsOf(ctx, s, instance)
	if err != nil {
		return nil, fmt.Errorf("follow a log: %w", err)
	}
	byHand, err := tailsByHand(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow a log by hand: %w", err)
	}
	title := fmt.Sprintf("%d tails of a growing log: worker's memory for them", tails)
	return []benchmark.Row{benchmark.Make(title, "MB", grown, byHand, benchmark.AtMost(mostTailsMB))}, nil
}

// tailsOf is by how much the worker grew while its readers read.
func tailsOf(ctx context.Context, s *stack.Stack, instance api.InstanceStatus) (float64, error) {
	worker, err := s.Worker(1)
	if err != nil {
		return 0, err
	}
	before, err := benchmark.MemoryOf(worker.PID)
	if err != nil {
		return 0, err
	}
	if err := benchmark.ForgetPeak(worker.PID); err != nil {
		return 0, err
	}
	address := s.Control.FileURL(controller.InstanceFiles, instance.InstanceID, instance.FilesURL, controller.StdoutLog, true)
	if err := readAll(ctx, address); err != nil {
		return 0, err
	}
	after, err := benchmark.MemoryOf(worker.PID)
	return after.Peak - before.Now, err
}

// readAll follows a file by all readers at once, until each has read what it is to read and all are still there.
func readAll(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	failed := make(chan error, tails)
	var reading, enough sync.WaitGroup
	enough.Add(tails)
	var counted atomic.Int64
	for range tails {
		reading.Go(func() {
			have := sync.OnceFunc(func() { counted.Add(1); enough.Done() })
			defer have()
			failed <- follow(ctx, client, address, have)
		})
	}
	enough.Wait()
	all := counted.Load()
	cancel()
	reading.Wait()
	close(failed)
	for err := range failed {
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%d readers had enough: %w", all, err)
		}
	}
	return nil
}

// follow reads until ctx ends, and says when it has enough.
func follow(ctx context.Context, client *http.Client, address string, have func()) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	if _, err := io.CopyN(io.Discard, answer.Body, tailed); err != nil {
		return err
	}
	have()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	return errors.New("the answer has ended")
}

// tailsByHand is what as many processes take that follow one file each.
func tailsByHand(ctx context.Context) (total float64, failed error) {
	dir, err := os.MkdirTemp("", "dea-tails")
	if err != nil {
		return 0, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { failed = errors.Join(failed, os.RemoveAll(dir)) }()
	log := filepath.Join(dir, "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		return 0, fmt.Errorf("write a log: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running []*exec.Cmd
	defer func() {
		cancel()
		for _, one := range running {
			_ = one.Wait() // it was killed
		}
	}()
	for range tails {
		one := exec.CommandContext(ctx, tailProgram, "-f", log)
		if err := one.Start(); err != nil {
			return 0, fmt.Errorf("start %s: %w", tailProgram, err)
		}
		running = append(running, one)
	}
	if !pause.For(ctx, time.Second) { // until the last has begun to wait
		return 0, ctx.Err()
	}
	for _, one := range running {
		share, err := benchmark.ShareOf(one.Process.Pid)
		if err != nil {
			return 0, err
		}
		total += share
	}
	return total, nil
}

// chatterZip is an app that writes to its log.
func chatterZip() ([]byte, error) {
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	for name, content := range map[string]string{"Procfile": "web: bash chatter.sh\n", "chatter.sh": chatter} {
		file, err := writer.Create(name)
		if err != nil {
			return nil, fmt.Errorf("zip an app: %w", err)
		}
		if _, err := io.WriteString(file, content); err != nil {
			return nil, fmt.Errorf("zip an app: %w", err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("zip an app: %w", err)
	}
	return out.Bytes(), nil
}
