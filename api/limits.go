package api

import "encoding/json"

// UnmarshalJSON reads limits in both forms of the wire: a start message calls the memory "mem", a staging request's
// resources call it "memory".
func (l *Limits) UnmarshalJSON(text []byte) error {
	// No embedded Limits: its name would stand in the decoder's errors.
	read := struct {
		Mem    int64 `json:"mem"`
		Memory int64 `json:"memory"`
		Disk   int64 `json:"disk"`
		FDs    int64 `json:"fds"`
	}{Mem: l.MemoryMB, Disk: l.DiskMB, FDs: l.FDs}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	l.MemoryMB, l.DiskMB, l.FDs = read.Mem, read.Disk, read.FDs
	if l.MemoryMB == 0 {
		l.MemoryMB = read.Memory
	}
	return nil
}
