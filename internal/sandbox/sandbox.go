// Package sandbox runs tests and benchmarks where they can change networks and mounts: in a network and a mount
// namespace of their own, so that no packet of theirs leaves the machine, and nothing is left when they are killed.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
)

// inside in the environment says that a program runs in a sandbox already.
const inside = "WARDEND_IN_SANDBOX"

// Enter runs this program again, with the same arguments, in a sandbox, and answers its exit code and true; or false
// when it runs in one already, whose loopback it brings up, or when this user cannot make one.
func Enter() (exitCode int, done bool) {
	if os.Getenv(inside) != "" {
		if err := loopback(); err != nil {
			fmt.Fprintln(os.Stderr, "sandbox:", err)
			return 1, true
		}
		return 0, false
	}
	if os.Geteuid() != 0 {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:gosec,noctx // this program, for as long as it takes
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), true
	default:
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1, true
	}
}

func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// Check fails where there is no sandbox.
func Check() error {
	if os.Getenv(inside) == "" {
		return errors.New("this needs a network namespace of its own: run it as root")
	}
	return nil
}
