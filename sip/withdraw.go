package sip

// Withdraw ends what Start has begun because somebody answers in place of the phones that ring: they are told that the call was completed
// elsewhere, and what Start was given hears the outcome, from where Answer may follow. False: nothing rings any more. From the shard.
func (in *Inbound) Withdraw() bool {
	f := in.tx.fork
	if f == nil || f.done || f.answered || in.Gone() {
		return false
	}
	f.cancelBranches(elsewhere)
	f.abandon()
	return true
}

// HasEarly tells whether two tags are those of an early dialog that the request has made, in whichever order: phones that want to take a call's
// place (RFC 3891) name it as one of its parties sees it, or as the other does. From the shard.
func (in *Inbound) HasEarly(oneTag, otherTag string) bool {
	for _, o := range in.sh.dialogs[in.sh.dialogKey(in.callID)] {
		if d, ok := o.(*Dialog); ok && d.state == dialogEarly && d.fork == in.tx.fork {
			if _, ok := d.owns(oneTag, otherTag); ok {
				return true
			}
		}
	}
	return false
}
