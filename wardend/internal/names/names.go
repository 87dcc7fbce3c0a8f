// Package names knows which names wardend gives to things on the kernel and in its depot. It is plain loops, since
// every container's init is wardend's binary: what a package makes when a program starts is paid for once for each.
package names

// Bounds of names in bytes.
const (
	MaxInstance = 8
	MaxID       = 80
)

// IsInstance says whether s can be the name of a wardend: 1 to MaxInstance of a-z and 0-9.
func IsInstance(s string) bool {
	return len(s) > 0 && len(s) <= MaxInstance && all(s, func(c byte) bool { return isLower(c) || isDigit(c) })
}

// IsID says whether s can be the id of a container: 1 to MaxID of letters, digits, dot, underscore and dash.
func IsID(s string) bool {
	return len(s) > 0 && len(s) <= MaxID && all(s, func(c byte) bool { return IsAlphanumeric(c) || c == '.' || c == '_' || c == '-' })
}

// IsAlphanumeric says whether c is an ASCII letter or digit.
func IsAlphanumeric(c byte) bool { return isLower(c) || isDigit(c) || c >= 'A' && c <= 'Z' }

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
