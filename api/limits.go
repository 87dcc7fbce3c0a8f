package api

import "encoding/json"

// UnmarshalJSON reads limits in both forms of the wire: a start message calls the memory "mem", a staging request's
// resources call it "memory".
func (l *Limits) UnmarshalJSON(text []byte) error {
	type plain Limits
	read := struct {
		*plain
		Memory int64 `json:"memory"`
	}{plain: (*plain)(l)}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	if l.MemoryMB == 0 {
		l.MemoryMB = read.Memory
	}
	return nil
}
