package api

// Needs are the resources that the staging asks for. A node books its own staging minimum where that is larger.
func (r StagingRequest) Needs() Resources {
	limits := r.Properties.Resources
	return Resources{
		MemoryMB: max(r.MemoryLimit, limits.MemoryMB, 1),
		DiskMB:   max(r.DiskLimit, limits.DiskMB, 1),
	}
}

// Reservation is what an instance of the message has to be booked with, under its id.
func (m StartMessage) Reservation(instance string) Reservation {
	return Reservation{
		ID: instance, Kind: KindInstance, AppID: m.AppID, Index: m.Index,
		Resources: Resources{MemoryMB: m.Limits.MemoryMB, DiskMB: m.Limits.DiskMB},
		Stack:     m.Stack,
		Workflow:  InstanceWorkflowID(instance),
	}
}
