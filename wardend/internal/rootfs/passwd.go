package rootfs

import (
	"fmt"
	"strings"

	"github.com/durable-dea/dea/internal/passwd"
)

const (
	// MaxID is the highest uid and gid that a container has.
	MaxID = passwd.MaxID
	// maxGroups bounds what is handed to each job; NFS and older systems stop at 16, the kernel at 65536.
	maxGroups = 1024
)

// Fields of a line of etc/group.
const groupGID, groupMembers, groupFields = 2, 3, 4

// parsePasswd is passwd.Find for a user that has yet to get their groups.
func parsePasswd(content, name string) (User, error) {
	entry, err := passwd.Find(content, name)
	if err != nil {
		return User{}, err
	}
	return User{Name: name, UID: entry.UID, GID: entry.GID, Home: entry.Home}, nil
}

// parseGroups finds the supplementary groups of a user whose own group is primary.
func parseGroups(content, name string, primary uint32) ([]uint32, error) {
	var groups []uint32
	seen := map[uint32]bool{primary: true}
	for line := range strings.Lines(content) {
		// Most lines have no members at all, or others.
		if !strings.Contains(line, name) {
			continue
		}
		fields := strings.SplitN(strings.TrimRight(line, "\n"), ":", groupFields+1)
		if len(fields) != groupFields || !member(fields[groupMembers], name) {
			continue
		}
		gid, err := passwd.ID(fields[groupGID])
		if err != nil {
			return nil, fmt.Errorf("gid of group %.64q: %w", fields[0], err)
		}
		if seen[gid] {
			continue
		}
		seen[gid] = true
		if groups = append(groups, gid); len(groups) > maxGroups {
			return nil, fmt.Errorf("%s is in more than %d groups", name, maxGroups)
		}
	}
	return groups, nil
}

func member(members, name string) bool {
	for m := range strings.SplitSeq(members, ",") {
		if strings.TrimSpace(m) == name {
			return true
		}
	}
	return false
}
