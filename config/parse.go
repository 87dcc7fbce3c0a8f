package config

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads seconds, whole or broken, or Go's form ("1m30s").
func parseDuration(text string) (time.Duration, bool) {
	if seconds, ok := parseFloat(text); ok {
		if seconds > maxDuration.Seconds() || seconds < -maxDuration.Seconds() {
			return 0, false
		}
		return time.Duration(seconds * float64(time.Second)), true
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d <= maxDuration && d >= -maxDuration
}

func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		return true, true
	case "false", "no", "off", "0":
		return false, true
	}
	return false, false
}

// parseInt reads decimal digits, which may be grouped with underscores as in YAML, and 0x, 0o and 0b forms. Unlike in
// YAML 1.1 a leading zero does not make a number octal: nobody who writes 0512 means 330.
func parseInt(text string) (int64, error) {
	digits := strings.ReplaceAll(text, "_", "")
	base := 10
	if unsigned := strings.ToLower(strings.TrimLeft(digits, "+-")); len(unsigned) > 2 && unsigned[0] == '0' &&
		slices.Contains([]byte("xob"), unsigned[1]) {
		base = 0
	}
	return strconv.ParseInt(digits, base, 64)
}

func parseFloat(text string) (float64, bool) {
	f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	return f, err == nil && finite(f)
}
