package initproc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// Names in a state directory.
const (
	socketName = "control"
	pidName    = "init.json"
	logName    = "log"
	jobsName   = "jobs"
)

// Kinds of files of a job, the ends of their names.
const (
	kindStarted = "job"
	kindOut     = "out"
	kindExit    = "exit"
)

// maxJobs is how many jobs an init keeps that run or that nobody has taken the end of: its memory is charged to nobody.
const maxJobs = 20000

// filesPerJob is how many files there are of a job, with those that are being written.
const filesPerJob = 5

var errTooManyJobs = fmt.Errorf("more than %d jobs are running or have not been linked to", maxJobs)

// ReadJobs finds the jobs of a state directory whose init is not there to be asked: what was written down of those
// that have ended, and those that had not, as Ended with ExitKilled. With an error it gives those that it has found.
func ReadJobs(dir string) ([]JobStatus, error) {
	d, err := openJobs(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	defer func() { _ = d.Close() }()
	var jobs []JobStatus
	const batch = 256
	for seen := 0; ; {
		names, err := d.Readdirnames(batch)
		for _, name := range names {
			if status, ok := readJob(d, name); ok {
				jobs = append(jobs, status)
			}
		}
		seen += len(names)
		switch {
		case errors.Is(err, io.EOF):
			return jobs, nil
		case err != nil:
			return jobs, fmt.Errorf("read jobs: %w", err)
		case len(jobs) > maxJobs || seen > maxJobs*filesPerJob:
			return jobs, fmt.Errorf("read jobs: %w", errTooManyJobs)
		}
	}
}

// readJob reads what there is of the job whose start a file tells of; false when it is no such file.
func readJob(d *stateDir, name string) (JobStatus, bool) {
	number, ok := strings.CutSuffix(name, "."+kindStarted)
	if !ok {
		return JobStatus{}, false
	}
	id, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return JobStatus{}, false
	}
	job := uint32(id)
	var ended JobStatus
	if d.readJSON(jobFile(job, kindExit), &ended) != nil {
		ended = JobStatus{ExitStatus: ExitKilled}
	}
	// The file's name is what counts.
	ended.Job, ended.Ended = job, true
	return ended, true
}

// RemoveJob removes what is kept of a job. It can be called again.
func RemoveJob(dir string, job uint32) error {
	d, err := openJobs(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove job %d: %w", job, err)
	}
	defer func() { _ = d.Close() }()
	var errs []error
	// That it was started goes last: it is what says that the others may be there.
	for _, kind := range []string{kindOut, kindExit, kindStarted} {
		errs = append(errs, d.remove(jobFile(job, kind)))
	}
	return errors.Join(errs...)
}

// jobFile is the name of a job's file in the directory of jobs.
func jobFile(job uint32, kind string) string {
	return strconv.FormatUint(uint64(job), 10) + "." + kind
}

// ownFile is the init's path of a job's file.
func ownFile(job uint32, kind string) string { return filepath.Join(jobsName, jobFile(job, kind)) }

// writeJSON writes a file whole or not at all.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, raw, fileMode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// lastWords is the end of an init's log, for an error.
func lastWords(dir string) string {
	const most = 500
	state, err := openState(dir)
	if err != nil {
		return ""
	}
	defer func() { _ = state.Close() }()
	f, err := state.open(logName)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	raw := make([]byte, most)
	n, err := f.ReadAt(raw, max(0, info.Size()-most))
	if n == 0 || (err != nil && !errors.Is(err, io.EOF)) {
		return ""
	}
	return "; its log: " + printable(string(raw[:n]))
}

// printable is text of an init's that does nothing to who reads it.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' {
			return r
		}
		return '.'
	}, strings.ToValidUTF8(text, ".")))
}
