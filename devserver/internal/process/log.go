package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	// lastBytes and lastCount bound what of a log is told at a death.
	lastBytes = 4096
	lastCount = 10
	// followPause is how often a followed log is looked at.
	followPause = 100 * time.Millisecond
)

// lastLines are the last lines of a log that stand at or after from.
func lastLines(log *os.File, from int64) []string {
	size, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	from = max(from, size-lastBytes)
	text, err := io.ReadAll(io.NewSectionReader(log, from, size-from))
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines[max(0, len(lines)-lastCount):]
}

// Follow copies the lines that are added to a log, each with a prefix, until ctx ends. The file need not be there yet.
func Follow(ctx context.Context, path, prefix string, out io.Writer) error {
	var offset int64
	if info, err := os.Stat(path); err == nil {
		offset = info.Size()
	}
	tick := time.NewTicker(followPause)
	defer tick.Stop()
	for {
		next, err := copyLines(path, offset, prefix, out)
		if err != nil {
			return err
		}
		offset = next
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// copyLines copies the whole lines from offset on and gives the offset behind them.
func copyLines(path string, offset int64, prefix string, out io.Writer) (int64, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return offset, nil
	}
	if err != nil {
		return offset, err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	reader := bufio.NewReader(file)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, err
		}
		if _, err := fmt.Fprintf(out, "%s%s\n", prefix, bytes.TrimRight(line, "\r\n")); err != nil {
			return offset, err
		}
		offset += int64(len(line))
	}
}
