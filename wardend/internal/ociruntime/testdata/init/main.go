// Init is the process 1 of the containers in the tests: it says on file descriptor 3 what it sees, and waits.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

type report struct {
	Args     []string
	Env      []string
	Dir      string
	Hostname string
	Files    map[string]string // of the open file descriptors
	Status   map[string]string // of /proc/self/status
	Text     map[string]string // of files, "error: ..." where they cannot be read
	Links    map[string]string // of the namespaces
	Errors   map[string]string // what was tried; "" if it worked
	FromFile string            // what file descriptor 4 holds
}

const (
	sysClone3     = 435
	afALG         = 38
	cloneNewUser  = 0x10000000
	modeBlock     = syscall.S_IFBLK | 0o666
	modeCharacter = syscall.S_IFCHR | 0o666
	major         = 8
)

func main() {
	switch os.Args[1] {
	case "init":
		if len(os.Args) != 3 || os.Args[2] != "--probe" {
			os.Exit(3)
		}
		return
	case "exit":
		os.Stdout.WriteString("words of the process\n")
		os.Exit(1)
	case "report":
		tell()
	}
	for {
		_ = syscall.Pause() // select {} would be a deadlock to Go
	}
}

func tell() {
	r := report{
		Args: os.Args, Env: os.Environ(), Files: map[string]string{}, Status: map[string]string{},
		Text: map[string]string{}, Links: map[string]string{}, Errors: map[string]string{},
	}
	r.Dir, _ = os.Getwd()
	r.Hostname, _ = os.Hostname()
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			r.Files[e.Name()] = link
		}
	}
	for _, line := range strings.Split(text("/proc/self/status"), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok {
			r.Status[key] = strings.TrimSpace(value)
		}
	}
	for _, path := range []string{
		"/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/keys", "/proc/kcore",
		"/proc/timer_list", "/proc/net/dev", "/device",
	} {
		r.Text[path] = text(path)
	}
	for _, kind := range []string{"pid", "mnt", "net", "ipc", "uts", "user", "cgroup"} {
		r.Links[kind], _ = os.Readlink("/proc/self/ns/" + kind)
	}
	attempts(r.Errors)
	if _, ok := r.Files["4"]; ok {
		raw := make([]byte, 100)
		n, _ := syscall.Read(4, raw)
		r.FromFile = string(raw[:max(n, 0)])
	}
	raw, _ := json.Marshal(r)
	_, _ = syscall.Write(3, append(raw, '\n'))
}

// attempts are what is to work in a container, and what is not.
func attempts(errs map[string]string) {
	try := func(name string, err error) {
		errs[name] = ""
		if err != nil {
			errs[name] = err.Error()
		}
	}
	try("write /file", os.WriteFile("/file", []byte("x"), 0o600))
	try("write /dev/null", os.WriteFile("/dev/null", []byte("x"), 0o600))
	try("write /dev/shm", os.WriteFile("/dev/shm/x", []byte("x"), 0o600))
	try("chown", os.Chown("/file", 1000, 1000))
	try("write sysctl", os.WriteFile("/proc/sys/kernel/domainname", []byte("x"), 0o600))
	try("write sysrq", os.WriteFile("/proc/sysrq-trigger", []byte("h"), 0o600))
	try("mknod block", syscall.Mknod("/block", modeBlock, major<<8))
	try("mknod character", syscall.Mknod("/character", modeCharacter, 1<<8|3))
	try("mount", syscall.Mount("x", "/sys", "tmpfs", 0, ""))
	try("unshare user", syscall.Unshare(cloneNewUser))
	try("sethostname", syscall.Sethostname([]byte("x")))
	_, _, no := syscall.RawSyscall(sysClone3, 0, 0, 0)
	try("clone3", errno(no))
	fd, err := syscall.Socket(afALG, syscall.SOCK_SEQPACKET, 0)
	try("socket alg", err)
	_ = syscall.Close(fd)
	_, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, 1)
	try("socket raw", err)
	_, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	try("socket tcp", err)
	limit := syscall.Rlimit{Cur: 100, Max: 100}
	_, _, no = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	try("prlimit", errno(no))
	// A job: another user's process whose limits the init sets.
	job, err := os.StartProcess("/init", []string{"init", "wait"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 1000, Gid: 1000, Groups: []uint32{1000}},
	}})
	try("start as another user", err)
	if err != nil {
		return
	}
	_, _, no = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(job.Pid), syscall.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	try("prlimit of another user's", errno(no))
	try("kill another user's", job.Kill())
	_, _ = job.Wait()
}

func errno(no syscall.Errno) error {
	if no == 0 {
		return nil
	}
	return no
}

func text(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(raw)
}
