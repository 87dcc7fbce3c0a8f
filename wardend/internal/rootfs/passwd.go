package rootfs

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

const (
	// MaxID is the highest uid and gid that a container has.
	MaxID = 65535
	// maxGroups bounds what is handed to each job; NFS and older systems stop at 16, the kernel at 65536.
	maxGroups = 1024
	// maxHome in bytes is the longest path that the kernel takes.
	maxHome = 4095
)

// Fields of a line of etc/passwd, and of one of etc/group.
const (
	passwdUID, passwdGID, passwdHome, passwdFields = 2, 3, 5, 7
	groupGID, groupMembers, groupFields            = 2, 3, 4
)

var errNoUser = errors.New("no such user")

// parsePasswd finds a user's line, the first one as getpwnam does. Lines that are none are passed over, as libc does;
// the user's own must be whole. (There is a library for this, moby/sys/user, but there a uid that is no number is 0:
// a slip in a stack's file would make every job root.)
func parsePasswd(content, name string) (User, error) {
	for line := range strings.Lines(content) {
		rest, found := strings.CutPrefix(strings.TrimRight(line, "\n"), name)
		if !found || !strings.HasPrefix(rest, ":") {
			continue
		}
		fields := strings.SplitN(rest, ":", passwdFields+1)
		if len(fields) != passwdFields {
			return User{}, fmt.Errorf("the line of %s has %d fields in place of %d", name, len(fields), passwdFields)
		}
		uid, err := parseID(fields[passwdUID])
		if err != nil {
			return User{}, fmt.Errorf("uid of %s: %w", name, err)
		}
		gid, err := parseID(fields[passwdGID])
		if err != nil {
			return User{}, fmt.Errorf("gid of %s: %w", name, err)
		}
		home := fields[passwdHome]
		if home == "" {
			home = "/"
		}
		if !path.IsAbs(home) || len(home) > maxHome || strings.ContainsRune(home, 0) {
			return User{}, fmt.Errorf("home of %s is no absolute path", name)
		}
		return User{Name: name, UID: uid, GID: gid, Home: path.Clean(home)}, nil
	}
	return User{}, errNoUser
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
		gid, err := parseID(fields[groupGID])
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

func parseID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id > MaxID {
		return 0, fmt.Errorf("%.32q is no number from 0 to %d", s, MaxID)
	}
	return uint32(id), nil
}
