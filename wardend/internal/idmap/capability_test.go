package idmap_test

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

// withoutCapability calls UserNamespace on a thread that lacks the capability, and that ends with the goroutine.
func withoutCapability(number int) error {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	bit := uint32(1) << (number % 32)
	sets[number/32].Effective &^= bit
	sets[number/32].Permitted &^= bit
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return err
	}
	file, err := idmap.UserNamespace(idmap.Range{Host: 100000, Size: 65536})
	if err == nil {
		file.Close()
	}
	return err
}
