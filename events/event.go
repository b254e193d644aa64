package events

import "time"

// Kind says what happened. Kinds are stable words of the API: "subject.verb".
type Kind string

// The kinds that Tandem publishes. Others may be added; readers ignore what they do not know.
const (
	CallStarted  Kind = "call.started"  // an INVITE was accepted for routing; From, To, Tenant, Peer
	CallRouted   Kind = "call.routed"   // a step of the dialplan was taken; Reason is its node, such as "ring.sales"
	CallRinging  Kind = "call.ringing"  // the first 18x; Status
	CallAnswered Kind = "call.answered" // the first 2xx; To is who answered when that differs from the number dialled
	CallUncopied Kind = "call.uncopied" // the caller heard of the answer before other nodes could go on with the call
	CallEnded    Kind = "call.ended"    // Status, Reason, Media; exactly one per call

	// A side of a call has sounded worse than media.mos_alarm allows, and as it should again; Detail with from (caller, callee) and mos.
	CallQualityLow      Kind = "call.quality_low"
	CallQualityRestored Kind = "call.quality_restored"

	// A key pressed in a call that Tandem answers, when it is let go; Duration, and Detail with digit and via (rfc4733, tone, info).
	// Digits of relayed calls are nobody's but the phones': they may be secrets.
	CallDigit Kind = "call.digit"

	// A recording of an answered call; File, and of the end Duration (of the sound) and Reason when it was not meant to end. The end may come
	// after that of the call.
	RecordingStarted Kind = "recording.started"
	RecordingEnded   Kind = "recording.ended"
	RecordingFailed  Kind = "recording.failed"

	// A call has come into a conference, or is about to end and leaves it; To is the node, Detail holds "members", how many there are now.
	ConferenceJoined Kind = "conference.joined"
	ConferenceLeft   Kind = "conference.left"

	// A message was left in a mailbox, or was heard there for the first time: To is the mailbox, From who left it, Call the call in which that
	// happened, Duration its length, Detail has its id.
	VoicemailLeft Kind = "voicemail.left"
	VoicemailRead Kind = "voicemail.read"

	// A caller in a queue; To is its node. QueueJoined has Detail position, QueueAnswered agent; of the others Reason says why, and
	// Duration is how long the caller has waited.
	QueueJoined    Kind = "queue.joined"
	QueueAnswered  Kind = "queue.answered"
	QueueAbandoned Kind = "queue.abandoned" // the caller has hung up
	QueueLeft      Kind = "queue.left"      // the call went on elsewhere

	// A call in a slot, which is To; From is the caller. CallParked has Detail by, who has parked it; CallFetched is of who fetches it, with Detail
	// parked, the call in the slot.
	CallParked   Kind = "park.parked"
	CallFetched  Kind = "park.fetched"
	CallReturned Kind = "park.returned" // nobody wanted it

	// From answers a call that rings at To; Detail has picked_up, the id of that call.
	CallPickedUp Kind = "call.picked_up"

	// A caller is about to speak to phones that have answered by themselves; Detail has phones, how many.
	PageStarted Kind = "page.started"

	// A server has chosen where a call goes, or could not: To is the app, Detail has answer, one of the plan's or the fault; Reason is what the
	// server says to it, or what went wrong, and Duration how long it took.
	AppAnswered Kind = "app.answered"
	AppFailed   Kind = "app.failed"

	// An agent, From, in all his queues or in the one that To names.
	AgentLoggedIn  Kind = "agent.logged_in"
	AgentLoggedOut Kind = "agent.logged_out"
	AgentPaused    Kind = "agent.paused"
	AgentResumed   Kind = "agent.resumed"

	RegistrationAdded   Kind = "registration.added"
	RegistrationRemoved Kind = "registration.removed"
	RegistrationExpired Kind = "registration.expired"

	// CallEmergency tells that somebody calls for help: From, To, Reason is the location, Detail has the node and who is to be notified.
	CallEmergency Kind = "call.emergency"

	TrunkUp           Kind = "trunk.up"   // an address of a trunk answers again; To is the trunk
	TrunkDown         Kind = "trunk.down" // none does; Reason
	TrunkRegistered   Kind = "trunk.registered"
	TrunkUnregistered Kind = "trunk.unregistered" // Reason

	AuthFailed  Kind = "auth.failed"
	GuardBanned Kind = "guard.banned"

	AccountSet     Kind = "account.set"
	AccountRemoved Kind = "account.removed"

	DialplanApplied Kind = "dialplan.applied"

	NodeStarted  Kind = "node.started"
	NodeDraining Kind = "node.draining"
	NodeStopped  Kind = "node.stopped"
)

// Event is one thing that happened. Fields that do not apply are empty. Strings are kept for as long as the ring
// holds the event, so they must not be slices of a packet buffer.
type Event struct {
	Seq    uint64    `json:"seq"`  // 1, 2, 3 ... since the start of this process; set by Publish
	Time   time.Time `json:"time"` // set by Publish when zero
	Kind   Kind      `json:"kind"`
	Node   string    `json:"node,omitempty"` // set by Publish when empty
	Tenant string    `json:"tenant,omitempty"`
	Call   string    `json:"call,omitempty"`    // the call's id, the key of the CDR
	CallID string    `json:"call_id,omitempty"` // of the caller's INVITE; call.started only
	AOR    string    `json:"aor,omitempty"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"`
	Peer   string    `json:"peer,omitempty"` // address at the other end of the wire
	Reason string    `json:"reason,omitempty"`
	File   string    `json:"file,omitempty"`   // of a recording
	Status int       `json:"status,omitempty"` // SIP status where one applies
	// Duration is in nanoseconds in JSON. In call.ended it is the answered time; when zero the fold computes it.
	Duration time.Duration     `json:"duration_ns,omitempty"`
	Media    *Media            `json:"media,omitempty"`  // call.ended only
	Detail   map[string]string `json:"detail,omitempty"` // nil on frequent kinds; not to be changed after Publish
}

// Media is what the relay measured in a call: what was received from each side.
type Media struct {
	Caller Quality `json:"caller"`
	Callee Quality `json:"callee"`
}

// Quality describes the packets received from one side, all its streams together.
type Quality struct {
	Packets uint64        `json:"packets"`
	Bytes   uint64        `json:"bytes"`
	Lost    uint64        `json:"lost"`      // gaps in the RTP sequence numbers (RFC 3550 §6.4.1)
	Dropped uint64        `json:"dropped"`   // refused by the relay: wrong source, bad packet, rate
	Jitter  time.Duration `json:"jitter_ns"` // interarrival jitter (RFC 3550 §6.4.1), the worst stream's last value
	Codec   string        `json:"codec,omitempty"`
	RTT     time.Duration `json:"rtt_ns,omitempty"`   // from the node to this side and back, as its RTCP tells
	R       float64       `json:"r_factor,omitempty"` // how the other side hears this one (ITU-T G.107), 0 = unknown
	MOS     float64       `json:"mos,omitempty"`      // the same as an opinion, 1 to 4.5

	MOSWorst     float64 `json:"mos_worst,omitempty"`         // of the worst second
	Bursts       uint32  `json:"bursts,omitempty"`            // losses that came together (RFC 3611 §4.7.2)
	BurstDensity float64 `json:"burst_density,omitempty"`     // percent lost within them
	Discarded    float64 `json:"discarded_percent,omitempty"` // that this side's phone says it throws away of the other's packets, as too late
}
