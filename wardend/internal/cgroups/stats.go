package cgroups

import (
	"errors"
	"io/fs"
	"path/filepath"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
)

// Memory is what the group uses, in bytes and events since it was made; nil where the kernel does not have the
// controller. On v1 it is memory.stat, whose names are the protocol's.
//
// On v2, as near as the meaning allows: cache is file, rss is anon, mapped_file is file_mapped, swap is
// memory.swap.current; pgfault, pgmajfault and the five of the lists have the same names. The limits are the least of
// the group's and those of the groups that it lies in. Everything on v2 counts the groups beneath as well, so that
// each total_ is the same number. Pages charged and uncharged, pgpgin and pgpgout, are not counted there: both are
// left out.
func (g *Group) Memory() (*wardenpb.InfoResponse_MemoryStat, error) {
	dir, ok := g.file(memoryController, "")
	if !ok {
		return nil, nil //nolint:nilnil // nothing is measured, which is no failure
	}
	if g.m.version == 1 {
		return memoryV1(dir)
	}
	return memoryV2(dir, g.m.roots[memoryController])
}

func memoryV1(dir string) (*wardenpb.InfoResponse_MemoryStat, error) {
	stat := &wardenpb.InfoResponse_MemoryStat{}
	err := eachNumber(filepath.Join(dir, "memory.stat"), func(key string, n uint64) { set(stat, key, n) })
	if err != nil {
		return nil, err
	}
	return stat, nil
}

// set sets the field of a name if there is such a field.
func set(stat *wardenpb.InfoResponse_MemoryStat, name string, n uint64) {
	message := stat.ProtoReflect()
	if field := message.Descriptor().Fields().ByName(protoreflect.Name(name)); field != nil {
		message.Set(field, protoreflect.ValueOfUint64(n))
	}
}

func memoryV2(dir, root string) (*wardenpb.InfoResponse_MemoryStat, error) {
	fields := map[string]string{
		"file": "cache", "anon": "rss", "file_mapped": "mapped_file", "pgfault": "pgfault", "pgmajfault": "pgmajfault",
		"inactive_anon": "inactive_anon", "active_anon": "active_anon", "inactive_file": "inactive_file",
		"active_file": "active_file", "unevictable": "unevictable",
	}
	stat := &wardenpb.InfoResponse_MemoryStat{}
	take := func(key string, n uint64) {
		if field := fields[key]; field != "" {
			set(stat, field, n)
			set(stat, "total_"+field, n)
		}
	}
	if err := eachNumber(filepath.Join(dir, "memory.stat"), take); err != nil {
		return nil, err
	}
	limit, err := least(dir, root, "memory.max")
	if err != nil {
		return nil, err
	}
	set(stat, "hierarchical_memory_limit", limit)
	swap, err := readNumber(filepath.Join(dir, "memory.swap.current"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		// The kernel does not count swap.
		return stat, nil
	}
	if err != nil {
		return nil, err
	}
	set(stat, "swap", swap)
	set(stat, "total_swap", swap)
	swapLimit, err := least(dir, root, "memory.swap.max")
	if err != nil {
		return nil, err
	}
	// v1's limit is that of memory and swap together.
	set(stat, "hierarchical_memsw_limit", limit+min(swapLimit, backend.UnlimitedMemory-limit))
	return stat, nil
}

// least is the least limit of a group and of those that it lies in. The root of a hierarchy has none.
func least(dir, root, name string) (uint64, error) {
	limit := uint64(backend.UnlimitedMemory)
	for ; dir != root; dir = filepath.Dir(dir) {
		n, err := readNumber(filepath.Join(dir, name), backend.UnlimitedMemory)
		if err != nil {
			return 0, err
		}
		limit = min(limit, n)
	}
	return limit, nil
}

const (
	nanosInMicro = 1000
	// microsInTick: the kernel gives USER_HZ as 100 on every architecture that containers run on.
	microsInTick = 1_000_000 / 100
)

// CPU is what the group has used since it was made: usage in nanoseconds, user and system in ticks of USER_HZ (1/100 s);
// nil where the kernel does not count it.
func (g *Group) CPU() (*wardenpb.InfoResponse_CpuStat, error) {
	dir, ok := g.file(cpuacctController, "")
	if !ok {
		return nil, nil //nolint:nilnil // nothing is measured, which is no failure
	}
	if g.m.version == 1 {
		return cpuV1(dir)
	}
	return cpuV2(dir)
}

func cpuV1(dir string) (*wardenpb.InfoResponse_CpuStat, error) {
	usage, err := readNumber(filepath.Join(dir, "cpuacct.usage"), 0)
	if err != nil {
		return nil, err
	}
	var user, system uint64
	err = eachNumber(filepath.Join(dir, "cpuacct.stat"), func(key string, n uint64) {
		switch key {
		case "user":
			user = n
		case "system":
			system = n
		}
	})
	if err != nil {
		return nil, err
	}
	return &wardenpb.InfoResponse_CpuStat{Usage: &usage, User: &user, System: &system}, nil
}

func cpuV2(dir string) (*wardenpb.InfoResponse_CpuStat, error) {
	var usage, user, system uint64
	err := eachNumber(filepath.Join(dir, "cpu.stat"), func(key string, n uint64) {
		switch key {
		case "usage_usec":
			usage = n * nanosInMicro
		case "user_usec":
			user = n / microsInTick
		case "system_usec":
			system = n / microsInTick
		}
	})
	if err != nil {
		return nil, err
	}
	return &wardenpb.InfoResponse_CpuStat{Usage: &usage, User: &user, System: &system}, nil
}

// OOMKills is how many processes of the group the kernel has killed for want of memory since the group was made,
// also while nobody watched; 0 where the kernel does not have the controller.
func (g *Group) OOMKills() (uint64, error) {
	file, ok := g.oomFile()
	if !ok {
		return 0, nil
	}
	kills, _, err := findNumber(file, "oom_kill")
	return kills, err
}

// oomFile is the file that counts kills.
func (g *Group) oomFile() (string, bool) {
	if g.m.version == 1 {
		return g.file(memoryController, "memory.oom_control")
	}
	return g.file(memoryController, "memory.events")
}
