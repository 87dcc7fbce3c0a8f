package archive

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Error is a refusal: the archive is at fault, and no retry helps. It unwraps to one of the causes below and, where
// there is one, to the error beneath it.
type Error struct {
	// Name is the entry at fault as the archive has it, empty when it is the archive itself. It may be any bytes.
	Name string
	// Words say what is wrong with it, for the user.
	Words string
	// Cause is one of the Err values of this package.
	Cause error
	// Err is the error beneath, or nil.
	Err error
}

// What can be wrong with an archive, for errors.Is.
var (
	// ErrNotArchive: the file is no archive of the expected kind.
	ErrNotArchive = errors.New("not an archive")
	// ErrDamaged: it begins as one, but cannot be read to its end.
	ErrDamaged = errors.New("damaged archive")
	// ErrUnsupported: an entry is encrypted, or compressed in a way that is not known.
	ErrUnsupported = errors.New("unsupported archive")
	// ErrName: an entry's name cannot be used.
	ErrName = errors.New("bad name")
	// ErrOutside: an entry would be outside.
	ErrOutside = errors.New("outside of the directory")
	// ErrLink: a link leads outside, in a circle or nowhere.
	ErrLink = errors.New("bad link")
	// ErrConflict: two entries want the same place.
	ErrConflict = errors.New("conflicting entries")
	// ErrSpecial: an entry is neither file nor directory nor link.
	ErrSpecial = errors.New("special file")
	// ErrTooLarge: there are more bytes or entries than allowed.
	ErrTooLarge = errors.New("too large")
)

// Error is the sentence for the user: it names the entry, its unprintable bytes escaped, and holds no cause.
func (e *Error) Error() string {
	if e.Name == "" {
		return e.Words
	}
	return quote(e.Name) + " " + e.Words
}

// Unwrap gives the cause and the error beneath.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Err}
}

// maxQuoted keeps a name of many kilobytes from filling a user's screen.
const maxQuoted = 200

func quote(name string) string {
	if len(name) <= maxQuoted {
		return strconv.Quote(name)
	}
	return strconv.Quote(strings.ToValidUTF8(name[:maxQuoted], "")) + "..."
}

func refuse(cause error, name, words string) *Error {
	return &Error{Name: name, Words: words, Cause: cause}
}

func damaged(name string, err error) *Error {
	words := "is damaged"
	if name == "" {
		words = "the archive is damaged or not complete"
	}
	return &Error{Name: name, Words: words, Cause: ErrDamaged, Err: err}
}

func tooManyBytes(limit int64) *Error {
	return refuse(ErrTooLarge, "", fmt.Sprintf("the archive unpacks to more than the allowed %s", FormatSize(limit)))
}

func tooManyEntries(limit int) *Error {
	return refuse(ErrTooLarge, "", fmt.Sprintf("the archive holds more than the allowed %d entries", limit))
}

func namesTooLong() error {
	return refuse(ErrTooLarge, "", "the names in the archive take more space than allowed")
}

// FormatSize writes a number of bytes as du -h does: 512, 4.0K, 1.5M, 12M. It rounds up.
func FormatSize(bytes int64) string {
	const base, units = 1024, "KMGTPE"
	if bytes < base {
		return strconv.FormatInt(bytes, 10)
	}
	value, unit := float64(bytes)/base, 0
	// What rounds up to 1024 is one of the next unit.
	for math.Ceil(value) >= base && unit < len(units)-1 {
		value /= base
		unit++
	}
	if tenths := math.Ceil(value * 10); tenths < 100 {
		return fmt.Sprintf("%.1f%c", tenths/10, units[unit])
	}
	return fmt.Sprintf("%.0f%c", math.Ceil(value), units[unit])
}
