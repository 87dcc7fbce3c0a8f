package workflows

import (
	"slices"

	"github.com/durable-dea/dea/api"
)

// reserve books what there is room for. What is booked already under the same id for the same workflow is accepted
// again, and then stands until each update that booked it is taken back: booking is the id of this one.
func (n *node) reserve(booking string, request api.ReserveRequest) api.ReserveResult {
	result := api.ReserveResult{
		FilesURL: n.said.FilesURL, Host: n.said.Host, CompletionPatience: n.said.CompletionPatience, Grace: n.grace(),
		Refused: map[string]api.Constraint{},
	}
	for _, r := range request.Reservations {
		if r.Kind == api.KindStaging {
			r.Resources.MemoryMB = max(r.Resources.MemoryMB, n.said.StagingMinimum.MemoryMB)
			r.Resources.DiskMB = max(r.Resources.DiskMB, n.said.StagingMinimum.DiskMB)
		}
		if constraint := n.constraint(r); constraint != "" {
			result.Refused[r.ID] = constraint
			continue
		}
		at := n.find(r.ID)
		if at < 0 {
			at = len(n.ledger)
			r.Bookings = nil
			n.ledger = append(n.ledger, r)
			n.changed = true
		}
		n.book(at, booking)
		result.Accepted = append(result.Accepted, r.ID)
	}
	return result
}

// constraint is why a reservation must be refused; empty when it need not be.
func (n *node) constraint(r api.Reservation) api.Constraint {
	_, left := n.room()
	booked := n.find(r.ID)
	switch {
	case booked >= 0 && n.ledger[booked].Workflow != r.Workflow:
		return api.ConstraintTaken
	case booked >= 0:
		return ""
	case n.state() != api.NodeReady, r.Kind == api.KindStaging && n.said.NoStaging:
		return api.ConstraintState
	case r.Stack != "" && !slices.Contains(n.said.Stacks, r.Stack): // None stood in those of before there were several.
		return api.ConstraintStack
	case r.Resources.MemoryMB > left.MemoryMB:
		return api.ConstraintMemory
	case r.Resources.DiskMB > left.DiskMB:
		return api.ConstraintDisk
	default:
		return ""
	}
}

func (n *node) release(request api.ReleaseRequest) {
	for _, id := range request.IDs {
		if at := n.find(id); at >= 0 && n.takeBack(at, request.Booking) {
			n.ledger = slices.Delete(n.ledger, at, at+1)
			n.changed = true
		}
	}
}

// maxBookings is how many updates a reservation remembers. One that is taken back is within seconds.
const maxBookings = 8

// book notes that an update has booked a reservation, be it for the first time or again.
func (n *node) book(at int, booking string) {
	r := &n.ledger[at]
	r.Bookings = append(slices.Clone(r.Bookings), booking)
	if len(r.Bookings) > maxBookings {
		r.Bookings = slices.Delete(r.Bookings, 0, len(r.Bookings)-maxBookings)
	}
}

// takeBack tells whether a reservation goes when one booking of it is taken back: it does with the last. An empty
// booking stands for all. The update that is taken back may come first or last of several: a worker that did not hear the
// answer takes back, while another has booked the same.
func (n *node) takeBack(at int, booking string) bool {
	if booking == "" {
		return true
	}
	r := &n.ledger[at]
	if !slices.Contains(r.Bookings, booking) {
		return false
	}
	r.Bookings = slices.DeleteFunc(slices.Clone(r.Bookings), func(b string) bool { return b == booking })
	return len(r.Bookings) == 0
}

func (n *node) find(id string) int {
	return slices.IndexFunc(n.ledger, func(r api.Reservation) bool { return r.ID == id })
}

// instances is how many instances of each app are booked.
func (n *node) instances() map[string]int {
	count := map[string]int{}
	for _, r := range n.ledger {
		if r.Kind == api.KindInstance {
			count[r.AppID]++
		}
	}
	return count
}

// room is what is reserved and what is left.
func (n *node) room() (used, left api.Resources) {
	for _, r := range n.ledger {
		used.MemoryMB += r.Resources.MemoryMB
		used.DiskMB += r.Resources.DiskMB
	}
	left.MemoryMB = n.said.Capacity.MemoryMB - used.MemoryMB
	left.DiskMB = n.said.Capacity.DiskMB - used.DiskMB
	return used, left
}
