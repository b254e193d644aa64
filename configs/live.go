package configs

// Change is one key that a new configuration sets differently from the running one.
type Change struct {
	Key  string // "sip.udp"
	Live bool   // a running node takes it over; else it takes effect with the next start
}

// live marks a key that a running node can exchange, at SIGHUP. What has begun goes on under the old value. Who marks a key here makes
// (*tandem.Node).Reload hand it on, and says so in tandem.hcl with a "*"; a test holds the two together.
func live(k key) key {
	k.live = true
	return k
}

// Adopt is what a node that runs with c runs with after next was read: the live keys of next, all others as they are. The
// changes are all keys in which next differs, in the order of the schema; those that are not live stay changes until the next start.
func (c Config) Adopt(next Config) (Config, []Change) {
	var changes []Change
	running := schema(&c)
	wanted := schema(&next)
	for i, s := range running {
		for j, k := range s.keys {
			v := wanted[i].keys[j].get()
			if k.get().equal(v) {
				continue
			}
			changes = append(changes, Change{s.name + "." + k.name, k.live})
			if k.live {
				k.set(v) // next was checked: it fits
			}
		}
	}
	return c, changes
}
