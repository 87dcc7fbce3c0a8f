// Package size reads amounts of memory and disk as people write them: 256M, 1G.
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MB is an amount in units of 1024 * 1024 bytes, usable as a flag.
type MB int64

// units are in MB.
var units = map[string]int64{"M": 1, "MB": 1, "G": 1 << 10, "GB": 1 << 10, "T": 1 << 20, "TB": 1 << 20}

// Parse reads a whole number of M, G or T (MB, GB and TB are the same, in either case). A number without a unit, zero
// and what does not fit are errors.
func Parse(text string) (MB, error) {
	trimmed := strings.ToUpper(strings.TrimSpace(text))
	digits := strings.TrimRight(trimmed, "BGMT")
	unit, known := units[trimmed[len(digits):]]
	number, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case digits == trimmed && err == nil:
		return 0, fmt.Errorf("%q has no unit; write %sM or %sG", text, digits, digits)
	case !known || err != nil || number <= 0:
		return 0, fmt.Errorf("%q is no size; write a whole number and M, G or T, such as 256M", text)
	case number > math.MaxInt64/unit:
		return 0, fmt.Errorf("%q is too large", text)
	}
	return MB(number * unit), nil
}

// String writes the amount in the largest unit that keeps it whole.
func (m MB) String() string {
	switch {
	case m == 0:
		return "0"
	case m%(1<<20) == 0:
		return fmt.Sprintf("%dT", m>>20)
	case m%(1<<10) == 0:
		return fmt.Sprintf("%dG", m>>10)
	default:
		return fmt.Sprintf("%dM", m)
	}
}

// Set reads a flag's value.
func (m *MB) Set(text string) error {
	v, err := Parse(text)
	if err == nil {
		*m = v
	}
	return err
}

// Type names the kind of value in a command's help.
func (m *MB) Type() string { return "size" }

// Bytes writes a number of bytes for people, such as 12.3 MB.
func Bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n), -1
	for value >= unit && prefix < len("KMGTPE")-1 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %cB", value, "KMGTPE"[prefix])
}
