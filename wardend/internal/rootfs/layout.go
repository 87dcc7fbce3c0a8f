package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Kinds of rootfs that are made here.
const (
	KindHost   = "host"
	KindDebian = "debian"
)

const (
	vcapName = "vcap"
	// vcapID is vcap's uid and gid: 2000, as in Cloud Foundry's own stacks, so that files that belong to a number, in
	// droplets and caches, belong to vcap on every stack. The first user of most machines, 1000, is somebody else.
	vcapID   = 2000
	vcapHome = "/home/vcap"
	bash     = "/bin/bash"
)

// What a rootfs of this machine has in place of its own files. No user has a password, and there is no shadow file.
const (
	madePasswd = "root:*:0:0:root:/root:/bin/bash\n" +
		"nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
		"vcap:*:2000:2000::/home/vcap:/bin/bash\n"
	// 5 is what a container's terminals belong to.
	madeGroup = "root:*:0:\ntty:*:5:\nnogroup:*:65534:\nvcap:*:2000:\n"
	madeHosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	// The machine's own may ask daemons that no container reaches.
	madeNSSwitch = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n" +
		"protocols: files\nservices: files\nethers: files\nrpc: files\n"
)

// directory is one that a rootfs has, beside what programs bring.
type directory struct {
	path string
	mode fs.FileMode
	id   int // owner and group
}

// directories is the frame of a rootfs, parents first. The runtime mounts over some of them.
func directories() []directory {
	const private = 0o700
	all := []directory{{"root", private, 0}, {"home", publicDir, 0}, {vcapHome, publicDir, vcapID}}
	for _, name := range []string{
		"dev", "etc", "media", "mnt", "opt", "proc", "run", "run/lock", "srv", "sys", "var", "var/cache", "var/lib", "var/log", "var/opt", "var/spool",
	} {
		all = append(all, directory{name, publicDir, 0})
	}
	for _, name := range []string{"tmp", "var/tmp"} {
		all = append(all, directory{name, fs.ModeSticky | fs.ModePerm, 0})
	}
	return all
}

// makeFrame makes the directories and links that every rootfs has, where they are missing.
func makeFrame(root string) error {
	for _, d := range directories() {
		at := filepath.Join(root, d.path)
		err := os.Mkdir(at, d.mode)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("/%s of the rootfs is no directory", d.path)
		}
		if err := errors.Join(os.Chown(at, d.id, d.id), os.Chmod(at, d.mode)); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"etc/mtab": "../proc/self/mounts", "var/run": "/run", "var/lock": "/run/lock"} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// replaceFile writes a file of a rootfs, in the place of whatever was there: a link is not followed.
func replaceFile(root, name, content string) error {
	at := filepath.Join(root, name)
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeFile(at, content)
}
