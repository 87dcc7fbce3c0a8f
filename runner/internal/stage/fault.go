package stage

import (
	"errors"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/runspec"
)

// fault is a failure with its type and the sentence for the user. The cause is for the operator, and never in the
// sentence.
type fault struct {
	runspec.Fault
	cause error
}

func (f *fault) Error() string {
	if f.cause == nil {
		return f.Message
	}
	return f.Message + ": " + f.cause.Error()
}

func (f *fault) Unwrap() error { return f.cause }

func newFault(t runspec.ErrorType, words string, cause error) error {
	return &fault{Fault: runspec.Fault{Type: t, Message: words}, cause: cause}
}

// platformFault is for what no user can mend. It becomes the user's when it is the container's disk that is full, see
// blameDisk.
func platformFault(words string, cause error) error {
	return newFault(runspec.ErrStager, words, cause)
}

// packageFault is for what is wrong with the user's package; what is not an archive's refusal is the platform's.
func packageFault(err error) error {
	var refused *archive.Error
	if errors.As(err, &refused) {
		return newFault(runspec.ErrStaging, "The app package cannot be used: "+refused.Error(), err)
	}
	return platformFault("the app package cannot be unpacked", err)
}

// asFault finds the fault in an error; every other error is the platform's.
func asFault(err error) *runspec.Fault {
	var f *fault
	switch {
	case errors.As(err, &f):
		told := f.Fault
		if f.cause != nil {
			told.Cause = f.cause.Error()
		}
		return &told
	case errors.Is(err, errTimeExpired):
		return &runspec.Fault{Type: runspec.ErrTimeExpired, Message: runspec.WordsTimeExpired}
	case errors.Is(err, ErrStopped):
		return &runspec.Fault{Type: runspec.ErrStager, Message: "Staging was stopped"}
	default:
		return &runspec.Fault{Type: runspec.ErrStager, Message: "Staging failed within the platform", Cause: err.Error()}
	}
}
