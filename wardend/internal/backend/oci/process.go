package oci

import (
	"context"
	"fmt"
	"time"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// identify writes down which process the init is.
func (r *record) identify(pid int) error {
	stat, err := proctree.Read(pid)
	if err != nil {
		return err
	}
	boot, err := proctree.BootID()
	if err != nil {
		return err
	}
	r.PID, r.Start, r.Boot = pid, stat.Start, boot
	return nil
}

// alive says whether the init that a record names lives.
func alive(r *record) bool {
	state, there := stateOfInit(r)
	return there && state != 'Z'
}

// stateOfInit is the kernel's letter for the init that a record names; false when there is no such process.
func stateOfInit(r *record) (state byte, there bool) {
	if r.PID == 0 {
		return 0, false
	}
	stat, err := proctree.Read(r.PID)
	if err != nil || stat.Start != r.Start {
		return 0, false
	}
	boot, err := proctree.BootID()
	return stat.State, err == nil && boot == r.Boot
}

// endTimeout bounds how long processes that were killed may take to end.
const endTimeout = 20 * time.Second

// killInit ends the init that a record names, if it lives. Its process namespace ends with it: when the init is gone,
// so is every process of the container.
func killInit(ctx context.Context, r *record) error {
	// One that has ended itself may still be ending the others: it is waited for.
	if _, there := stateOfInit(r); !there {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	// It is of this boot: only its number may have become another's since.
	if err := proctree.End(ctx, r.PID, func(p proctree.Stat) bool { return p.Start == r.Start }); err != nil {
		return fmt.Errorf("end the container's process 1: %w", err)
	}
	return nil
}
