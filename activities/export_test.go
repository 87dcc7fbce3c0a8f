package activities

// Waiting tells how many wait for a droplet.
func (d *Droplets) Waiting(sha1 string) int { return d.waits.Waiting(sha1) }
