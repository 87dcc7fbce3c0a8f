package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// finishDebian makes a rootfs of a fresh Debian system that nobody else knows yet.
func finishDebian(ctx context.Context, root string, sum *Summary) error {
	if err := empty(root); err != nil {
		return err
	}
	for name, line := range map[string]string{
		passwdFile: "vcap:x:2000:2000::/home/vcap:/bin/bash\n", groupFile: "vcap:x:2000:\n",
		"etc/shadow": "vcap:*:19000:0:99999:7:::\n", "etc/gshadow": "vcap:!::\n",
	} {
		if err := appendLine(root, name, line); err != nil {
			return err
		}
	}
	if err := makeFrame(root); err != nil {
		return err
	}
	resolv, reachable, err := ResolvConf("/")
	if err != nil {
		return err
	}
	if !reachable {
		sum.warn(noServers)
	}
	for name, content := range map[string]string{"etc/hosts": madeHosts, resolvFile: resolv} {
		if err := replaceFile(root, name, content); err != nil {
			return err
		}
	}
	return disarm(ctx, root, sum)
}

// empty removes what a system has of one machine or of one installation: lists and packages, logs, ids, keys, and
// debootstrap's devices, which the runtime brings.
func empty(root string) error {
	var errs []error
	for _, pattern := range []string{
		"debootstrap", "dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "var/tmp/*",
		"var/cache/apt/*", "var/cache/debconf/*-old", "var/lib/apt/lists/*", "var/log/*",
		"etc/hostname", "etc/machine-id", "var/lib/dbus/machine-id", "etc/ssh/ssh_host_*", "var/lib/systemd/random-seed",
		"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		errs = append(errs, err)
		for _, at := range found {
			errs = append(errs, removeTree(at))
		}
	}
	return errors.Join(errs...)
}

// appendLine adds a user's line to a file, where there is one and it does not know the user.
func appendLine(root, name, line string) error {
	at := filepath.Join(root, name)
	f, err := os.OpenFile(at, os.O_RDWR|os.O_APPEND|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	content, err := readSmall(at)
	if err != nil {
		return err
	}
	if strings.HasPrefix(content, "vcap:") || strings.Contains(content, "\nvcap:") {
		return fmt.Errorf("/%s of the fresh system has a user vcap already", name)
	}
	if content != "" && !strings.HasSuffix(content, "\n") {
		line = "\n" + line
	}
	_, err = f.WriteString(line)
	return err
}

// disarm takes set-uid and set-gid bits and capabilities from the files of a system of our own, and counts them.
func disarm(ctx context.Context, root string, sum *Summary) error {
	return filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.Type() == fs.ModeSymlink:
			sum.Symlinks++
			return nil
		case d.IsDir():
			sum.Directories++
		case d.Type().IsRegular():
			sum.Files++
			sum.Bytes.Copied += uint64(info.Size())
		default:
			sum.leaveOut(ReasonSpecial, strings.TrimPrefix(at, root))
			return os.Remove(at)
		}
		const privileges = fs.ModeSetuid | fs.ModeSetgid
		armed := info.Mode()&privileges != 0
		if armed {
			if err := os.Chmod(at, info.Mode()&(fs.ModePerm|fs.ModeSticky)); err != nil {
				return err
			}
		}
		err = unix.Lremovexattr(at, "security.capability")
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return &fs.PathError{Op: "remove capabilities of", Path: at, Err: err}
		}
		if d.Type().IsRegular() && (armed || err == nil) {
			sum.change(ReasonPrivileges, strings.TrimPrefix(at, root))
		}
		return nil
	})
}
