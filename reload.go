package tandem

import (
	"time"

	"tandem/configs"
	"tandem/pbx"
	"tandem/sip"
	"tandem/sip/transport"
)

// Reload takes over what of next can be exchanged while the node runs, and reads the certificate again. next must have been
// checked (configs.Load). It is all or nothing: what can fail comes first, and on an error nothing has changed. The changes are all keys
// in which next differs from what the node runs with; those that are not live wait for the next start.
func (n *Node) Reload(next configs.Config) ([]configs.Change, error) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	c, changes := n.running.Adopt(next)
	if err := n.certs.Use(c.Certs.CertFile, c.Certs.KeyFile); err != nil {
		return nil, err
	}
	if err := n.sip.Registrar().SetLimits(sip.RegistrarLimits{
		MinExpires: c.Limits.RegisterMin, MaxExpires: c.Limits.RegisterMax, DefaultExpires: c.Limits.RegisterDefault, MaxBindings: c.Limits.BindingsPerAOR,
	}); err != nil {
		_ = n.certs.Use(n.running.Certs.CertFile, n.running.Certs.KeyFile)
		return nil, err
	}
	n.events.RaiseMaxOpen(maxOpen(c))
	if n.media != nil {
		n.media.SetLimits(c.Limits.MediaSilence, c.Limits.Calls)
	}
	n.pbx.SetLimits(pbx.Limits{MaxCalls: c.Limits.Calls, CallsPerUser: c.Limits.CallsPerUser, MaxBranches: c.Limits.BranchesPerCall})
	n.sip.SetLimits(sip.Limits{
		MaxTransactions: c.Limits.Transactions, MaxDialogs: c.Limits.Calls, MaxCallTime: c.Limits.CallDuration, TimerC: c.SIP.TimerC, Recurse: c.SIP.FollowRedirects,
	})
	n.sip.Digest().SetLifetime(c.Auth.NonceLifetime)
	n.sip.Transport().SetLimits(transport.LiveLimits{
		Connections: c.Limits.TCPConnections, PerIP: c.Limits.TCPConnectionsPerIP,
		ReadTimeout: c.SIP.ReadTimeout, WriteTimeout: c.SIP.WriteTimeout, IdleTimeout: streamIdle(c),
	})
	n.guard.SetLimits(transport.GuardLimits{
		Rate: float64(c.Limits.RequestsPerIP), Failures: c.Limits.AuthFailures.Count, Window: c.Limits.AuthFailures.Window, BanFor: c.Limits.AuthFailures.Ban,
	})
	n.running = c
	return changes, nil
}

// maxOpen is how many calls the event log follows: some more than there may be, for those that end just now.
func maxOpen(c configs.Config) int { return c.Limits.Calls + 1024 }

// streamIdle is how long a silent stream is kept: a phone that registers over it says nothing between two registrations.
func streamIdle(c configs.Config) time.Duration {
	return max(c.SIP.IdleTimeout, c.Limits.RegisterMax+10*time.Minute)
}
