package runspec

// Exit statuses of the runner. Launch ends with its app's status (128 + n when signal n ended the app), so only
// the others use the lower ones, and the two of launch are told from an app's by PathLaunchFault.
//
//	status  of               meaning
//	0       all              it worked
//	1       stage, unpack    the platform is at fault (StagerError)
//	2       all              the arguments are wrong
//	20      stage            StagingError
//	21      stage            NoAppDetectedError
//	22      stage            BuildpackCompileFailed
//	23      stage            BuildpackReleaseFailed
//	24      stage            StagingTimeExpired
//	30      stage            this container has staged already, or does: nothing was done
//	40      unpack           the droplet is no droplet; stderr has a sentence for the user
//	50      session          the disk has no room for it
//	124     launch           missing start command
//	125     launch, session  the command could not be started
const (
	ExitOK             = 0
	ExitInternal       = 1
	ExitUsage          = 2
	ExitStaging        = 20
	ExitNoAppDetected  = 21
	ExitCompile        = 22
	ExitRelease        = 23
	ExitTimeExpired    = 24
	ExitAlreadyStarted = 30
	ExitBadDroplet     = 40
	ExitNoRoom         = 50
	ExitMissingCommand = 124
	ExitLaunch         = 125
	// ExitSignalBase plus n is the status of a launch whose app was ended by signal n.
	ExitSignalBase = 128
)

// ExitStatus is the status that stage ends with for a type of fault.
func (t ErrorType) ExitStatus() int {
	switch t {
	case ErrStaging:
		return ExitStaging
	case ErrNoAppDetected:
		return ExitNoAppDetected
	case ErrCompile:
		return ExitCompile
	case ErrRelease:
		return ExitRelease
	case ErrTimeExpired:
		return ExitTimeExpired
	default:
		return ExitInternal
	}
}

// FaultOf is the fault that a status of stage tells of, for when there is no result; no words for any other status.
func FaultOf(status int) (t ErrorType, words string) {
	switch status {
	case ExitStaging:
		return ErrStaging, "The app cannot be staged"
	case ExitNoAppDetected:
		return ErrNoAppDetected, WordsNoAppDetected
	case ExitCompile:
		return ErrCompile, WordsCompile
	case ExitRelease:
		return ErrRelease, WordsRelease
	case ExitTimeExpired:
		return ErrTimeExpired, WordsTimeExpired
	default:
		return "", ""
	}
}
