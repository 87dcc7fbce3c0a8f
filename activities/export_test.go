package activities

// HookScript is the script of a hook's job.
var HookScript = hookScript

// Waiting tells how many wait for a droplet.
func (d *Droplets) Waiting(sha1 string) int { return d.waits.Waiting(sha1) }
