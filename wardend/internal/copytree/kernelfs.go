package copytree

import "golang.org/x/sys/unix"

// mqueueMagic is the file system of POSIX message queues.
const mqueueMagic = 0x19800202

// special says whether an open file is of a file system that the kernel makes up: there are magic links in it, files
// that do things when they are read, and directories without end. The device tells file systems apart.
func (c *copier) special(fd int, device uint64) (bool, error) {
	if known, ok := c.kernels[device]; ok {
		return known, nil
	}
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatfs(fd, &st) }); err != nil {
		return false, err
	}
	if c.kernels == nil {
		c.kernels = map[uint64]bool{}
	}
	c.kernels[device] = isKernels(st.Type)
	return c.kernels[device], nil
}

func isKernels(kind int64) bool {
	switch kind {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEVPTS_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.SELINUX_MAGIC,
		unix.SMACK_MAGIC, unix.AAFS_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC,
		unix.BINFMTFS_MAGIC, unix.NSFS_MAGIC, unix.RDTGROUP_SUPER_MAGIC, unix.AUTOFS_SUPER_MAGIC,
		mqueueMagic, unix.HUGETLBFS_MAGIC:
		return true
	}
	return false
}
