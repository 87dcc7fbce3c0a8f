package copytree

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// ParseOwner reads "user", "user:group", or numbers in their place. It fails with ErrFailed when there is no such user
// or group.
func ParseOwner(s string) (*Owner, error) {
	name, group, hasGroup := strings.Cut(s, ":")
	owner := &Owner{UID: -1, GID: -1}
	var err error
	if name != "" {
		owner.UID, err = id(name, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
	}
	if err == nil && hasGroup && group != "" {
		owner.GID, err = id(group, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%w: owner %q: %w", ErrFailed, s, err)
	}
	return owner, nil
}

func id(name string, lookup func(string) (string, error)) (int, error) {
	number, err := strconv.ParseUint(name, 10, 31)
	if err == nil {
		return int(number), nil
	}
	found, err := lookup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(found)
}
