package rootfs

// Reason says why something of the machine is not in a rootfs, or not as it is there.
type Reason string

// Reasons for what is left out.
const (
	// ReasonUnreadable: not everybody may read the file or enter the directory.
	ReasonUnreadable Reason = "not readable by everybody"
	// ReasonSecret: by its name or content it is a key or a password, whatever its mode says.
	ReasonSecret Reason = "holds a secret"
	// ReasonConfiguration: it configures this machine, as /etc does.
	ReasonConfiguration Reason = "configuration of this machine"
	// ReasonSpecial: devices, pipes and sockets.
	ReasonSpecial Reason = "device, pipe or socket"
	// ReasonExcluded: the caller did not want it.
	ReasonExcluded Reason = "excluded"
	// ReasonGone: it was removed or replaced meanwhile.
	ReasonGone Reason = "gone meanwhile"
	// ReasonPrivileges is none for leaving out: set-uid and set-gid bits or file capabilities were, the file is there.
	ReasonPrivileges Reason = "copied without its privileges"
)

// maxExamples is how many paths are named for each reason.
const maxExamples = 5

// Noted is what was treated otherwise than the rest, for one reason.
type Noted struct {
	Reason Reason `json:"reason"`
	// Count is of files and directories; what a directory holds is not counted.
	Count uint64 `json:"count"`
	// Examples are some of the paths.
	Examples []string `json:"examples"`
}

// Bytes is where the content of a rootfs' files is. A file with several names counts once for each.
type Bytes struct {
	// Linked is shared with the machine's own files, one inode with several names.
	Linked uint64 `json:"linked"`
	// Reflinked is shared until one side is written; Copied is not shared.
	Reflinked uint64 `json:"reflinked"`
	Copied    uint64 `json:"copied"`
}

// Summary is what a rootfs was made of.
type Summary struct {
	// Dir is the rootfs, absolute.
	Dir string `json:"dir"`
	// Kind is KindHost or KindDebian.
	Kind string `json:"kind"`
	// User is whom jobs run as.
	User        User    `json:"user"`
	Directories uint64  `json:"directories"`
	Files       uint64  `json:"files"`
	Symlinks    uint64  `json:"symlinks"`
	Bytes       Bytes   `json:"bytes"`
	LeftOut     []Noted `json:"left_out,omitempty"`
	// Changed are files that are there with less than they have on the machine.
	Changed []Noted `json:"changed,omitempty"`
	// Warnings are sentences for the user.
	Warnings []string `json:"warnings,omitempty"`
	Seconds  float64  `json:"seconds"`
}

func (s *Summary) leaveOut(reason Reason, path string) { note(&s.LeftOut, reason, path) }

func (s *Summary) change(reason Reason, path string) { note(&s.Changed, reason, path) }

func (s *Summary) warn(sentence string) { s.Warnings = append(s.Warnings, sentence) }

func note(to *[]Noted, reason Reason, path string) {
	for i := range *to {
		if n := &(*to)[i]; n.Reason == reason {
			n.Count++
			if len(n.Examples) < maxExamples {
				n.Examples = append(n.Examples, path)
			}
			return
		}
	}
	*to = append(*to, Noted{Reason: reason, Count: 1, Examples: []string{path}})
}
