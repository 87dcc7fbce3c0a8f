package network

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// sysctlRoot shows the settings of the network namespace of the thread that opens a file in it.
const sysctlRoot = "/proc/sys/net"

func readSysctl(name string) (string, error) {
	raw, err := os.ReadFile(sysctlRoot + "/" + name)
	return strings.TrimSpace(string(raw)), err
}

func writeSysctl(name, value string) error {
	f, err := os.OpenFile(sysctlRoot+"/"+name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// withoutIPv6 switches IPv6 off on a link, or with "default" on those that will be made; there is nothing to do where the kernel has none.
func withoutIPv6(link string) error {
	err := writeSysctl("ipv6/conf/"+link+"/disable_ipv6", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
