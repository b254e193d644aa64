package admin

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tandem/admin/phone"
	"tandem/auth"
	"tandem/cluster"
	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx"
	"tandem/pbx/app"
	"tandem/rtpengine"
	"tandem/rtpengine/ng"
	"tandem/rtpengine/turn"
	"tandem/sip"
	"tandem/sip/transport"
)

// metrics serves /metrics: what every part's Stats say, and Go's own figures.
func (s *Server) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 8, Timeout: requestTimeout,
	})
}

// collector reads every part's counters when it is asked. It describes nothing beforehand (an "unchecked" collector), so
// that a metric stands in one place only, the line that emits it.
type collector struct{ s *Server }

// Describe says nothing.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect emits one sample of everything.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	m := meter{ch}
	cfg := c.s.cfg
	ready := 0
	if cfg.Ready() == nil {
		ready = 1
	}
	m.gauge("tandem_ready", "1 when the node serves.", ready)
	m.gauge("tandem_build_info", "1, the labels tell which program this is.", 1, "version", cfg.Version, "node", cfg.Node)
	m.gauge("tandem_node_info", "1, the labels tell where the node stands and what it does.", 1, "node", cfg.Node, "region", cfg.Region, "roles", strings.Join(cfg.Roles, ","))
	m.sip(cfg.SIP.Stats())
	m.transport(cfg.SIP.Transport().Stats())
	m.location(cfg.Location.Stats())
	if cfg.Digest != nil {
		m.digest(cfg.Digest.Stats())
	}
	if cfg.Registrar != nil {
		m.registrar(cfg.Registrar.Stats())
	}
	if cfg.Guard != nil {
		m.guard(cfg.Guard.Stats())
	}
	m.pbx(cfg.PBX.Stats())
	if cfg.Messages != nil {
		m.voicemail(cfg.Messages.Stats())
	}
	if cfg.Prompts != nil {
		m.prompts(cfg.Prompts.Stats())
	}
	m.queues(cfg.PBX.QueueStats())
	m.apps(cfg.PBX.AppStats())
	m.callCopies(cfg.PBX.CopyStats(), cfg.Cluster.Status().Copies)
	m.succession(cfg.Cluster.Status().Succession, cfg.Cluster.Status().Shares)
	if cfg.Media != nil {
		m.media(cfg.Media.Stats())
	}
	if cfg.Trunks != nil {
		m.trunks(cfg.Trunks.Stats(), c.s.trunks())
	}
	if cfg.Engines != nil {
		m.engines(cfg.Engines.Stats())
	}
	if cfg.NG != nil {
		m.ng(cfg.NG.Stats())
	}
	if cfg.TURN != nil {
		m.turn(cfg.TURN.Stats())
	}
	if cfg.Phone != nil {
		m.phone(cfg.Phone.Stats())
	}
	st := cfg.Cluster.Status()
	m.cluster(st)
	m.clusterPort(st)
	m.dialplan(cfg.Dialplan.Stats())
	m.auth(cfg.Auth.Stats())
	m.events(cfg.Events.Stats())
	if cfg.Certs != nil {
		st := cfg.Certs.Stats()
		m.counter("tandem_certs_handshakes_total", "Certificates handed out.", st.Handshakes)
		m.counter("tandem_certs_reload_failures_total", "Reloads that failed; the former certificate stayed.", st.Failures)
		m.gauge("tandem_certs_expiry_timestamp_seconds", "When the certificate ends.", float64(st.NotAfter.Unix()))
	}
	m.admin(c.s.Stats())
}

// meter turns numbers into metrics. Labels are name, value, name, value.
type meter struct{ ch chan<- prometheus.Metric }

func (m meter) counter(name, help string, v uint64, labels ...string) {
	m.emit(prometheus.CounterValue, name, help, float64(v), labels)
}

func (m meter) gauge(name, help string, v any, labels ...string) {
	var f float64
	switch n := v.(type) {
	case int:
		f = float64(n)
	case int64:
		f = float64(n)
	case uint64:
		f = float64(n)
	case float64:
		f = n
	}
	m.emit(prometheus.GaugeValue, name, help, f, labels)
}

// histogram emits durations.
func (m meter) histogram(name, help string, h app.Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(h.AtMost))
	for bound, n := range h.AtMost {
		buckets[bound.Seconds()] = n
	}
	names, values := split(labels)
	m.ch <- prometheus.MustNewConstHistogram(prometheus.NewDesc(name, help, names, nil), h.Count, h.Sum.Seconds(), buckets, values...)
}

func split(labels []string) (names, values []string) {
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	return names, values
}

func (m meter) emit(kind prometheus.ValueType, name, help string, v float64, labels []string) {
	names, values := split(labels)
	m.ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
}

func (m meter) sip(st sip.Stats) {
	m.counter("tandem_sip_requests_total", "Well-formed requests received.", st.Requests)
	m.counter("tandem_sip_responses_total", "Well-formed responses received.", st.Responses)
	m.counter("tandem_sip_malformed_total", "Messages refused or dropped because they do not parse or validate.", st.Malformed)
	m.counter("tandem_sip_retransmitted_total", "Requests absorbed as retransmissions.", st.Retransmitted)
	m.counter("tandem_sip_stray_responses_total", "Responses that belong to no branch.", st.StrayResponses)
	m.counter("tandem_sip_stray_acks_total", "ACKs that belong to nothing.", st.StrayACKs)
	m.counter("tandem_sip_challenged_total", "Requests answered with 401 or 407.", st.Challenged)
	m.counter("tandem_sip_auth_failures_total", "Requests with wrong credentials.", st.AuthFailed)
	m.counter("tandem_sip_unknown_dialogs_total", "Requests inside a dialog that is not known, answered with 481.", st.Unknown481)
	m.counter("tandem_sip_loops_total", "Requests that came round again, answered with 482.", st.LoopsDetected)
	m.counter("tandem_sip_too_many_hops_total", "Requests out of Max-Forwards, answered with 483.", st.TooManyHops)
	m.counter("tandem_sip_shed_total", "Requests refused because a table is full or the node drains.", st.Shed)
	m.counter("tandem_sip_send_errors_total", "Messages that could not be sent.", st.SendErrors)
	m.counter("tandem_sip_timer_c_total", "Branches that rang too long.", st.TimerC)
	m.counter("tandem_sip_sessions_expired_total", "Calls ended because nobody refreshed the session.", st.SessionsExpired)
	m.counter("tandem_sip_own_requests_total", "Requests of the node's own inside calls, other than those that end one.", st.OwnRequests)
	m.counter("tandem_sip_own_requests_refused_total", "Of them, those that could not be sent: a party's offer was under way, or too many waited.", st.OwnRefused)
	m.counter("tandem_sip_held_lost_total", "Messages that came while the node was handed over to another process and found no room.", st.HeldLost)
	m.counter("tandem_sip_callers_lost_total", "Calls cancelled because the caller's connection broke while phones rang.", st.CallersLost)
	m.counter("tandem_sip_lagged_total", "Requests looked at again because other nodes of the cluster knew more.", st.Lagged)
	m.counter("tandem_sip_next_flows_total", "Phones reached over another flow of theirs because the first one was gone.", st.NextFlows)
	m.counter("tandem_sip_edge_sent_total", "Messages sent through other nodes, to phones that are connected there.", st.Edge.Sent)
	m.counter("tandem_sip_edge_heard_total", "Messages of phones at other nodes for calls of this one.", st.Edge.Heard)
	m.counter("tandem_sip_edge_carried_total", "Messages of other nodes for phones that are connected here.", st.Edge.Carried)
	m.counter("tandem_sip_edge_strayed_total", "Messages of phones here for calls of other nodes.", st.Edge.Strayed)
	m.counter("tandem_sip_edge_undelivered_total", "Messages between nodes that found no way.", st.Edge.Undelivered)
	m.counter("tandem_sip_edge_lost_flows_total", "Flows of other nodes that they said to be gone.", st.Edge.Lost)
	m.counter("tandem_sip_edge_tokens_refused_total", "Flow tokens that were forged or of a flow that is gone.", st.Edge.Tokens)
	m.counter("tandem_sip_edge_malformed_total", "Messages of other nodes about phones that could not be read.", st.Edge.Malformed)
	m.counter("tandem_sip_callers_back_total", "Callers who came back over another connection while phones rang.", st.CallersBack)
	m.counter("tandem_sip_panics_total", "Panics caught; each ended one call.", st.Panics)
	m.counter("tandem_sip_trace_dropped_total", "Messages that did not fit into the trace.", st.TraceDropped)
	m.gauge("tandem_sip_transactions", "Server transactions.", st.Transactions)
	m.gauge("tandem_sip_branches", "Client transactions.", st.Branches)
	m.gauge("tandem_sip_dialogs", "Dialogs.", st.Dialogs)
	m.gauge("tandem_sip_pending", "Requests that began something and have no final answer yet.", st.Pending)
	m.gauge("tandem_sip_remains", "Transactions that are over and await retransmissions only.", st.Remains)
	m.gauge("tandem_sip_handlers", "Goroutines that think about a request.", st.Handlers)
}

func (m meter) transport(st transport.Stats) {
	m.counter("tandem_transport_datagrams_total", "Datagrams received.", st.Datagrams)
	m.counter("tandem_transport_stream_messages_total", "Messages received over streams and WebSockets.", st.StreamMessages)
	m.counter("tandem_transport_received_total", "Messages handed to the SIP server.", st.Received)
	m.counter("tandem_transport_sent_total", "Messages sent.", st.Sent)
	m.counter("tandem_transport_send_errors_total", "Messages that could not be sent.", st.SendErrors)
	m.counter("tandem_transport_keepalives_total", "Keep-alives received.", st.KeepAlives)
	m.counter("tandem_transport_stun_total", "STUN binding requests answered.", st.STUN)
	m.counter("tandem_transport_garbage_total", "Datagrams that are not SIP.", st.Garbage)
	m.counter("tandem_transport_oversized_total", "Messages over the size limit.", st.Oversized)
	m.counter("tandem_transport_shed_total", "Requests answered with 503 because a shard had too much to do.", st.Shed)
	m.counter("tandem_transport_shed_late_total", "Those of them that were shed because messages waited too long, not for want of room.", st.ShedLate)
	m.counter("tandem_transport_reserved_total", "Datagrams that only the reserve for calls under way had room for.", st.Reserved)
	m.counter("tandem_transport_dropped_total", "Datagrams dropped because a queue and its reserve were full.", st.Dropped)
	m.counter("tandem_transport_back_pressure_total", "Stream messages that waited for room in a queue.", st.BackPressure)
	m.counter("tandem_transport_busy_total", "Posts refused because a queue was full.", st.Busy)
	m.counter("tandem_transport_read_errors_total", "Passing errors of UDP sockets.", st.ReadErrors)
	m.counter("tandem_transport_accept_errors_total", "Errors of accepting connections.", st.AcceptErrors)
	m.counter("tandem_transport_accepted_total", "Connections let in.", st.Accepted)
	m.counter("tandem_transport_refused_connections_total", "Connections over a limit or from a banned source.", st.RefusedConns)
	m.counter("tandem_transport_dialled_total", "Connections opened from here.", st.Dialled)
	m.counter("tandem_transport_dial_failures_total", "Connections that could not be opened.", st.DialFailed)
	m.counter("tandem_transport_handshake_failures_total", "TLS and WebSocket handshakes that failed.", st.HandshakeFailed)
	m.counter("tandem_transport_timeouts_total", "Connections ended by a time-out.", st.TimedOut)
	m.counter("tandem_transport_slow_readers_total", "Connections ended because their write queue ran full.", st.SlowReaders)
	m.counter("tandem_transport_framing_errors_total", "Connections ended because the end of a message could not be found.", st.Framing)
	m.gauge("tandem_transport_connections", "Stream connections.", st.Connections)
	for i, n := range st.Queued {
		m.gauge("tandem_transport_queued", "Messages waiting for a shard.", n, "shard", strconv.Itoa(i))
	}
}

func (m meter) guard(st transport.GuardStats) {
	m.counter("tandem_guard_limited_total", "Messages over the rate of their source.", st.Limited)
	m.counter("tandem_guard_refused_total", "Messages and connections of banned sources.", st.Refused)
	m.counter("tandem_guard_failures_total", "Failed authentications counted against their source.", st.Failures)
	m.counter("tandem_guard_banned_total", "Bans begun.", st.Banned)
	m.counter("tandem_guard_evicted_total", "Sources or bans forgotten to make room.", st.Evicted)
	m.gauge("tandem_guard_bans", "Bans in force.", st.Bans)
}

func (m meter) digest(st sip.DigestStats) {
	m.counter("tandem_digest_challenges_total", "Challenges written.", st.Challenges)
	m.counter("tandem_digest_verified_total", "Credentials accepted.", st.Verified)
	m.counter("tandem_digest_retransmitted_total", "Credentials accepted because they repeat the last request.", st.Retransmitted)
	m.counter("tandem_digest_countless_total", "Credentials accepted without a nonce count.", st.Countless)
	for reason, n := range map[string]uint64{
		"password": st.WrongPassword, "user": st.UnknownUser, "stale": st.Stale, "replay": st.Replayed, "uri": st.WrongURI, "malformed": st.Malformed, "algorithm": st.Algorithm,
	} {
		m.counter("tandem_digest_refused_total", "Credentials refused, by reason.", n, "reason", reason)
	}
	m.counter("tandem_digest_evicted_total", "Nonces forgotten because the table is full.", st.Evicted)
	m.gauge("tandem_digest_nonces", "Nonces remembered.", st.NoncesLive)
}

func (m meter) registrar(st sip.RegistrarStats) {
	m.counter("tandem_registrar_requests_total", "REGISTERs carried out.", st.Requests)
	m.counter("tandem_registrar_fetched_total", "REGISTERs that changed nothing.", st.Fetched)
	m.counter("tandem_registrar_refreshed_total", "REGISTERs answered inside the lease, without the log.", st.Refreshed)
	m.counter("tandem_registrar_committed_total", "REGISTERs answered after a commit.", st.Committed)
	m.counter("tandem_registrar_absorbed_total", "Retransmissions of a REGISTER under way.", st.Absorbed)
	m.counter("tandem_registrar_refused_total", "REGISTERs refused with 4xx or 500.", st.Refused)
	m.counter("tandem_registrar_busy_total", "REGISTERs refused with 503 because too much is under way.", st.Busy)
	m.counter("tandem_registrar_failures_total", "REGISTERs whose commit is not known.", st.Failed)
	m.gauge("tandem_registrar_in_flight", "REGISTERs under way.", st.InFlight)
}

func (m meter) location(st sip.LocationStats) {
	m.gauge("tandem_location_aors", "Users with at least one phone.", st.AORs)
	m.gauge("tandem_location_bindings", "Phones registered.", st.Bindings)
	m.counter("tandem_location_applied_total", "Commands applied.", st.Applied)
	m.counter("tandem_location_added_total", "Bindings added.", st.Added)
	m.counter("tandem_location_changed_total", "Bindings changed.", st.Changed)
	m.counter("tandem_location_removed_total", "Bindings removed.", st.Removed)
	m.counter("tandem_location_expired_total", "Bindings expired.", st.Expired)
	m.counter("tandem_location_refused_total", "Commands that came too late or over a limit.", st.Refused)
	m.counter("tandem_location_refreshed_total", "Bindings prolonged inside their lease.", st.Refreshed)
}

func (m meter) pbx(st pbx.Stats) {
	m.counter("tandem_calls_started_total", "Calls begun.", st.Started)
	m.counter("tandem_calls_answered_total", "Calls answered.", st.Answered)
	m.counter("tandem_calls_failed_total", "Calls that were not answered.", st.Failed)
	m.counter("tandem_calls_limited_total", "Calls refused by a limit.", st.Limited)
	m.counter("tandem_voicemail_pins_refused_total", "Wrong PINs of mailboxes, and mailboxes that there are not.", st.PINsRefused)
	m.counter("tandem_trunk_full_total", "Calls that found all channels of a trunk taken.", st.TrunkFull)
	m.counter("tandem_trunk_limited_total", "Calls that were beyond the limits of their caller.", st.TrunkLimited)
	m.counter("tandem_conference_wrong_pins_total", "PINs of conferences that were wrong, or not pressed in time.", st.WrongPINs)
	m.counter("tandem_calls_silent_total", "Calls ended because no media came any more.", st.Silent)
	m.counter("tandem_calls_info_digits_total", "Digits that came in an INFO to a call that the node answered.", st.InfoDigits)
	m.counter("tandem_calls_arrived_total", "Answered calls taken over from the process before.", st.Arrived)
	m.counter("tandem_calls_revived_total", "Calls that rang at a dead node, and were begun anew at this one.", st.Revived)
	m.counter("tandem_calls_readdressed_total", "Of them, those whose phones were told of another address for their media.", st.Readdressed)
	m.counter("tandem_calls_unaddressed_total", "Calls that ended because a phone could not be told where they go on.", st.Unaddressed)
	m.counter("tandem_calls_pictures_wanted_total", "INFOs of phones that want a full picture, asked for in the media.", st.PicturesWanted)
	m.counter("tandem_calls_pictures_asked_total", "INFOs that asked a phone for a full picture because it has agreed to no feedback in the media.", st.PicturesAsked)
	m.counter("tandem_calls_pictures_refused_total", "Of these, those that the phone does not know; it gets no more.", st.PicturesRefused)
	m.counter("tandem_calls_info_converted_total", "INFOs that the other phone did not know, done in the media of a relayed call.", st.InfoConverted)
	m.gauge("tandem_calls", "Calls of now.", st.Calls)
	m.gauge("tandem_parked", "Calls that are parked at this node.", st.Parked)
	m.counter("tandem_parked_total", "Calls that were parked.", st.ParkedCalls)
	m.counter("tandem_parked_fetched_total", "Of these, those that somebody has fetched.", st.Fetched)
	m.counter("tandem_parked_returned_total", "Of these, those that nobody wanted in time.", st.Returned)
	m.gauge("tandem_lamps", "Phones that this node tells of messages in mailboxes.", st.Lamps)
	m.counter("tandem_lamps_refused_total", "Subscriptions to messages that were refused.", st.LampsRefused)
	m.counter("tandem_lamps_lost_total", "Subscriptions that ended because the phone took no NOTIFY.", st.LampsLost)
	m.counter("tandem_pickups_total", "Calls that rang at one user and were answered by another.", st.PickedUp)
	m.counter("tandem_pickups_refused_total", "Calls that a user may not pick up by the dialplan.", st.PickupsRefused)
	m.counter("tandem_pickups_in_vain_total", "Users who wanted to pick up a call when none rang, or no more.", st.PickupsInVain)
	m.counter("tandem_pages_total", "Callers who have spoken to phones that answered by themselves.", st.Pages)
	m.counter("tandem_paged_total", "Phones that have answered so.", st.Paged)
}

// apps are the servers that dialplans ask.
func (m meter) apps(all []app.Stats) {
	for _, st := range all {
		labels := []string{"tenant", st.Tenant, "app", st.App}
		for outcome, n := range st.Outcomes {
			m.counter("tandem_app_requests_total", "Calls for which an app was asked, by what came of it: answered, gone (the caller hung up), or why the call went on by otherwise.", n, append(labels, "outcome", outcome)...)
		}
		m.counter("tandem_app_retries_total", "Requests that were sent a second time.", st.Retries, labels...)
		m.gauge("tandem_app_in_flight", "Calls that wait for an app.", st.InFlight, labels...)
		open := 0
		if st.Open {
			open = 1
		}
		m.gauge("tandem_app_open", "1 while an app is left alone because it has failed too often.", open, labels...)
		m.histogram("tandem_app_seconds", "How long apps take, or how long calls waited for them in vain.", st.Took, labels...)
	}
}

// callCopies are the figures of calls that other nodes could go on with.
func (m meter) callCopies(calls pbx.CopyStats, st cluster.CopiesStatus) {
	m.counter("tandem_copies_described_total", "Times that an answered call was described for other nodes.", calls.Copied)
	m.counter("tandem_copies_undescribed_total", "Times that this was not possible: no media yet, or media on an engine elsewhere.", calls.Failed)
	m.counter("tandem_copies_in_time_total", "Calls that others had before the caller heard of the answer.", calls.InTime)
	m.counter("tandem_copies_late_total", "Calls whose callers have waited for that in vain (cluster.copy_wait).", calls.Late)
	m.gauge("tandem_copies_own", "Calls of this node that others are to have.", st.Own)
	m.gauge("tandem_copies_covered", "Of these, those whose newest state all holders have.", st.Covered)
	m.gauge("tandem_copies_alone", "Of these, those for which there is no other node.", st.Alone)
	m.gauge("tandem_copies_lag_seconds", "How long the oldest change has waited that a holder lacks.", st.Lag.Seconds())
	m.gauge("tandem_copies_held", "Calls of other nodes that this one could go on with.", st.Held)
	m.gauge("tandem_copies_held_bytes", "What they take.", st.Bytes)
	m.counter("tandem_copies_kept_total", "Times that a call was given to the others.", st.Kept)
	m.counter("tandem_copies_again_total", "Times that a call was copied anew because nodes have come or gone.", st.Again)
	m.counter("tandem_copies_batches_total", "Batches sent to holders.", st.Batches)
	m.counter("tandem_copies_sent_bytes_total", "What they took.", st.Sent)
	m.counter("tandem_copies_failures_total", "Batches that were not answered, and sent again.", st.Failures)
	m.counter("tandem_copies_refused_total", "Copies that were too large, or that a holder had no room for.", st.Refused)
	m.counter("tandem_copies_full_total", "Copies of others that this node had no room for.", st.Full)
}

// succession are the figures of dead nodes' calls.
func (m meter) succession(st cluster.SuccessionStatus, sh cluster.SharesStatus) {
	const waits = "Calls that have waited for other nodes to give back what they do not use of a limit."
	entitled := 0
	if st.Entitled {
		entitled = 1
	}
	m.gauge("tandem_entitled", "1 while a majority hears this node, so that nobody else can have its calls.", entitled)
	m.counter("tandem_takeovers_total", "Dead nodes whose calls this node has gone on with.", st.Takes)
	m.counter("tandem_takeover_failures_total", "Dead nodes with whose calls it could not.", st.Failures)
	m.gauge("tandem_takeover_seconds", "How long the last take-over took.", st.Took.Seconds())
	m.counter("tandem_shares_asked_total", "Times that this node has asked the others for more of a limit.", sh.Asked)
	m.counter("tandem_shares_given_total", "Times that it has given some of one back.", sh.Given)
	m.counter("tandem_shares_waits_total", waits, sh.Lent, "result", "got")
	m.counter("tandem_shares_waits_total", waits, sh.Late, "result", "late")
	m.gauge("tandem_shares_pools", "Limits of the whole cluster of which somebody has used something lately.", sh.Pools)
	m.gauge("tandem_shares_orphans", "Lives of nodes that are over and whose shares of limits are not free yet.", sh.Orphans)
	m.counter("tandem_fenced_total", "Times that this node was declared dead while it lived, and others went on with its calls.", st.Fenced)
}

// webRTC are the figures of browsers, and of phones that speak ICE or DTLS.
func (m meter) webRTC(st rtpengine.WebRTCStats) {
	const checks, handshakes = "Connectivity checks of ICE, by what became of them.", "DTLS handshakes, by how they ended."
	m.gauge("tandem_media_ice_transports", "Browsers' transports on the ICE ports, by state.", st.Connected, "state", "connected")
	m.gauge("tandem_media_ice_transports", "Browsers' transports on the ICE ports, by state.", st.Transports-st.Connected, "state", "waiting")
	m.counter("tandem_media_ice_checks_total", checks, st.Answered, "result", "answered")
	m.counter("tandem_media_ice_checks_total", checks, st.Strangers, "result", "stranger")
	m.counter("tandem_media_ice_checks_total", checks, st.Unproved, "result", "unproved")
	m.counter("tandem_media_ice_checks_total", checks, st.Conflicts, "result", "conflict")
	m.counter("tandem_media_ice_checks_total", checks, st.Floods, "result", "flood")
	m.counter("tandem_media_ice_garbage_total", "Datagrams at the ICE ports that are neither STUN nor DTLS nor RTP.", st.Garbage)
	m.counter("tandem_media_ice_hellos_total", "DTLS datagrams from where no check was proved, or that nobody waits for.", st.Hellos)
	m.counter("tandem_media_ice_consent_lost_total", "Browsers that were checked no more and got no more media (RFC 7675).", st.Lost)
	m.counter("tandem_media_ice_consent_restored_total", "Those that came back.", st.Restored)
	m.gauge("tandem_media_dtls_handshaking", "DTLS handshakes that run.", st.Handshaking)
	m.counter("tandem_media_dtls_handshakes_total", handshakes, st.Handshakes, "result", "ok")
	m.counter("tandem_media_dtls_handshakes_total", handshakes, st.HandshakesBusy, "result", "busy")
	for _, reason := range rtpengine.HandshakeFailures() {
		m.counter("tandem_media_dtls_handshakes_total", handshakes, st.HandshakesFailed[reason], "result", reason)
	}
}

// singlePort are the figures of the port that many calls share.
func (m meter) singlePort(st rtpengine.SinglePortStats) {
	const unowned = "Datagrams at the single port that went to no call: more than one could own them, nobody is expected there, their call has ended, or they were not read in time."
	if st.Port == 0 {
		return
	}
	m.gauge("tandem_media_single_port_streams", "Sides of m-lines that are heard at the single port.", st.Streams)
	m.gauge("tandem_media_single_port_addresses", "Remote addresses that the single port knows.", st.Addresses)
	m.counter("tandem_media_single_port_admitted_total", "Sides that were told the single port.", st.Admitted)
	for _, reason := range rtpengine.Detours() {
		m.counter("tandem_media_single_port_detours_total", "Sides that got ports of their own in spite of the single port, by reason.", st.Detours[reason], "reason", reason)
	}
	m.counter("tandem_media_single_port_unowned_total", unowned, st.Ambiguous, "reason", "ambiguous")
	m.counter("tandem_media_single_port_unowned_total", unowned, st.Strangers, "reason", "stranger")
	m.counter("tandem_media_single_port_unowned_total", unowned, st.Late, "reason", "late")
	m.counter("tandem_media_single_port_unowned_total", unowned, st.Overruns, "reason", "overrun")
	m.counter("tandem_media_single_port_clashes_total", "Answers that named what another call has, or needs, when it was too late for ports of their own.", st.Clashes)
	m.counter("tandem_media_single_port_forgotten_total", "Addresses of ended calls for which there was no room.", st.Forgotten)
}

func (m meter) media(st rtpengine.Stats) {
	m.gauge("tandem_media_sessions", "Media sessions and endpoints.", st.Sessions)
	m.gauge("tandem_media_sessions_limit", "How many there may be.", st.MaxSessions)
	m.gauge("tandem_media_playing", "Endpoints that play a sound.", st.Playing)
	m.gauge("tandem_media_sounds", "Sounds in memory.", st.Sounds.Kept)
	m.gauge("tandem_media_sound_bytes", "Memory of the sounds.", st.Sounds.Bytes)
	m.gauge("tandem_media_sound_bytes_limit", "How much it may be.", st.Sounds.Limit)
	m.counter("tandem_media_sound_loads_total", "Sounds made, or read from files.", st.Sounds.Loads)
	m.counter("tandem_media_sound_evicted_total", "Sounds that made room for others.", st.Sounds.Evicted)
	m.counter("tandem_media_sound_failures_total", "Times a sound could not be had.", st.Sounds.Failures)
	m.gauge("tandem_transcoded_calls", "Calls that are transcoded.", st.Coders.Calls)
	m.gauge("tandem_transcoded_calls_limit", "The most that may be at once.", st.Coders.MaxCalls)
	m.gauge("tandem_transcoded_streams", "Directions of calls that are transcoded.", st.Coders.Streams)
	m.gauge("tandem_transcoder_waiting", "Packets on their way to and from the workers that transcode.", st.Coders.Waiting)
	m.counter("tandem_transcoder_full_total", "Calls refused because too many were transcoded.", st.Coders.Full)
	m.counter("tandem_transcoder_frames_total", "Packets made by transcoding.", st.Coders.Frames)
	m.counter("tandem_transcoder_concealed_total", "Packets that were lost on their way to us and made up for.", st.Coders.Concealed)
	m.counter("tandem_transcoder_repeated_total", "Packets that were lost on their way to us and heard from the redundancy of later ones (RFC 2198).", st.Coders.Repeated)
	m.counter("tandem_transcoder_late_total", "Packets that came too late to be transcoded, twice, or waited too long for a worker.", st.Coders.Late)
	m.counter("tandem_transcoder_failed_total", "Packets that could not be decoded or encoded.", st.Coders.Failed)
	m.counter("tandem_transcoder_refused_total", "Packets that found the way to or from a worker full.", st.Coders.Refused)
	m.gauge("tandem_recordings", "Calls being recorded.", st.Recordings.Now)
	m.counter("tandem_recordings_begun_total", "Recordings begun.", st.Recordings.Begun)
	m.counter("tandem_recordings_refused_total", "Recordings refused because there were too many.", st.Recordings.Refused)
	m.counter("tandem_recordings_failed_total", "Recordings that could not be made or written.", st.Recordings.Failed)
	m.counter("tandem_recordings_lost_total", "Packets missing in recordings because the disk was too slow.", st.Recordings.Lost)
	m.counter("tandem_recordings_spoilt_pictures_total", "Pictures left out of recordings because something of them was missing, or of one before.", st.Recordings.Spoilt)
	m.counter("tandem_recordings_bytes_total", "Bytes of sound written.", st.Recordings.Bytes)
	for i, n := range st.Digits {
		if via := rtpengine.DigitVia(i); via != rtpengine.ViaINFO {
			m.counter("tandem_media_digits_total", "Digits heard in the media of calls that the node answers, by how they came.", n, "via", via.String())
		}
	}
	m.counter("tandem_media_untold_total", "Digits and wishes for pictures lost because too many came at once.", st.Untold)
	for what, n := range map[string]uint64{
		"translated": st.Feedback.Translated, "signalled": st.Feedback.Signalled, "asked": st.Feedback.Asked, "held": st.Feedback.Held,
		"unwanted": st.Feedback.Unwanted, "broken": st.Feedback.Broken, "lowered": st.Feedback.Lowered,
	} {
		m.counter("tandem_media_feedback_total", "Video feedback that did not pass as it came, by what became of it.", n, "result", what)
	}
	m.counter("tandem_media_quality_alarms_total", "Times a side sounded worse than media.mos_alarm allows.", st.Alarms)
	m.gauge("tandem_conferences", "Conferences.", st.Mixer.Rooms)
	m.gauge("tandem_conferences_limit", "How many there may be.", st.Mixer.MaxRooms)
	m.gauge("tandem_conference_members", "Members of all conferences.", st.Mixer.Members)
	m.counter("tandem_conferences_opened_total", "Conferences begun.", st.Mixer.Opened)
	m.counter("tandem_conferences_refused_total", "Conferences refused because there were too many.", st.Mixer.Refused)
	m.counter("tandem_conference_members_refused_total", "Members refused because their conference was full.", st.Mixer.Full)
	m.counter("tandem_conference_ticks_total", "Packet times that the mixers were given to.", st.Mixer.Ticks)
	m.counter("tandem_conference_skipped_ticks_total", "Packet times left out because a mixer was late.", st.Mixer.Skipped)
	m.emit(prometheus.CounterValue, "tandem_conference_busy_seconds_total", "Time that the mixers have worked.", st.Mixer.Busy.Seconds(), nil)
	m.counter("tandem_conference_lost_total", "Packets of members and frames for them that found no room between mixer and shard.", st.Mixer.Lost)
	m.counter("tandem_media_silences_total", "Sides reported silent.", st.Silences)
	m.counter("tandem_media_rejected_total", "Session descriptions refused.", st.Rejected)
	m.counter("tandem_media_refused_total", "Sessions refused because there were too many.", st.Refused)
	m.counter("tandem_media_packets_total", "RTP packets accepted.", st.Packets)
	m.counter("tandem_media_bytes_total", "Bytes of RTP accepted.", st.Bytes)
	m.counter("tandem_media_rtcp_total", "RTCP packets accepted.", st.RTCP)
	m.counter("tandem_media_forwarded_total", "Datagrams sent.", st.Forwarded)
	for i, n := range st.Drops {
		m.counter("tandem_media_dropped_total", "Datagrams that went no further, by reason.", n, "reason", rtpengine.Drop(i).String())
	}
	m.webRTC(st.WebRTC)
	m.singlePort(st.Single)
	m.gauge("tandem_media_tier", "1 for the way in which media packets are read; the reason is why not a cheaper one.", 1, "tier", string(st.Tier.Tier), "reason", st.Tier.Reason)
	kernel := st.Tier.Kernel
	m.gauge("tandem_media_kernel", "1 when the kernel may forward media; the reason is why not.", map[bool]int{true: 1}[kernel.On], "reason", kernel.Reason)
	m.gauge("tandem_media_kernel_flows_limit", "Directions of media that the kernel can forward at a time.", kernel.MaxFlows)
	for _, in := range kernel.Interfaces {
		m.gauge("tandem_media_kernel_interface", "1 for an interface whose media the kernel may forward; the reason is why not.", map[bool]int{true: 1}[in.Reason == ""], "interface", in.Name, "reason", in.Reason)
	}
	for _, n := range st.Streams {
		m.gauge("tandem_media_streams", "Directions of relayed media by the way that they take; the reason is why not by the kernel.", n.Streams, "tier", string(n.Tier), "reason", n.Reason)
	}
	for _, p := range st.Ports {
		addr := p.Addr.String()
		m.gauge("tandem_media_ports_used", "Port pairs in use.", p.Used, "address", addr)
		m.gauge("tandem_media_ports_free", "Port pairs free, resting ones included.", p.Free, "address", addr)
		m.counter("tandem_media_ports_skipped_total", "Port pairs found taken by another program.", p.Skipped, "address", addr)
		m.counter("tandem_media_ports_exhausted_total", "Times no port pair was free.", p.Exhausted, "address", addr)
	}
	for i, sh := range st.Shards {
		shard := strconv.Itoa(i)
		m.gauge("tandem_media_shard_sockets", "Sockets of a relay goroutine.", sh.Sockets, "shard", shard)
		m.gauge("tandem_media_shard_load", "Datagrams a second through a relay goroutine.", sh.Load, "shard", shard)
		m.counter("tandem_media_shard_datagrams_total", "Datagrams read.", sh.Datagrams, "shard", shard)
		m.counter("tandem_media_shard_wakeups_total", "Times a relay goroutine woke up.", sh.Wakeups, "shard", shard)
		m.counter("tandem_media_shard_waits_total", "Times signalling found the mailbox full.", sh.Waits, "shard", shard)
		m.counter("tandem_media_shard_srtp_sources_forgotten_total", "SRTP sources that made room for newer ones under the same key.", sh.ForgottenSources, "shard", shard)
		m.counter("tandem_media_shard_skipped_ticks_total", "Packets players left out because they were late.", sh.SkippedTicks, "shard", shard)
		m.counter("tandem_media_shard_faults_total", "Sockets the kernel would not watch or steer.", sh.Faults, "shard", shard)
		m.counter("tandem_media_shard_steered_total", "Datagrams steered past their port's own socket.", sh.Steered, "shard", shard)
		m.counter("tandem_media_shard_batched_total", "Datagrams that left in batches, past their port's own socket.", sh.Batched, "shard", shard)
		m.counter("tandem_media_shard_unbatched_total", "Datagrams that could not leave in a batch and left by their port's own socket.", sh.Unbatched, "shard", shard)
		m.counter("tandem_media_shard_overruns_total", "Steered datagrams that the kernel dropped because they were not read in time.", sh.Overruns, "shard", shard)
		m.counter("tandem_media_shard_exiled_total", "Flooded ports that went back to their own socket.", sh.Exiled, "shard", shard)
	}
}

func (m meter) engines(st ng.EnginesStats) {
	m.counter("tandem_media_engines_failovers_total", "Sessions that went to another media engine because the first did not answer or was full.", st.Failovers)
	m.counter("tandem_media_engines_refused_total", "Sessions that no media engine took.", st.Refused)
	m.counter("tandem_media_engines_lost_total", "Sessions ended because their media engine was gone or had ended them.", st.Lost)
	for _, e := range st.Engines {
		up := 0
		if e.Up {
			up = 1
		}
		drained := 0
		if e.Drained {
			drained = 1
		}
		m.gauge("tandem_media_engine_up", "1 when a media engine elsewhere answers.", up, "engine", e.Addr)
		m.gauge("tandem_media_engine_drained", "1 when it gets no new calls.", drained, "engine", e.Addr)
		m.gauge("tandem_media_engine_sessions", "Sessions of this node on it.", e.Sessions, "engine", e.Addr)
		m.gauge("tandem_media_engine_others", "Sessions of others on it, as it said last.", e.Others, "engine", e.Addr)
		m.counter("tandem_media_engine_requests_total", "Requests sent to it.", e.Asked, "engine", e.Addr)
		m.counter("tandem_media_engine_timeouts_total", "Requests that it did not answer.", e.Timeouts, "engine", e.Addr)
		m.counter("tandem_media_engine_failures_total", "Requests that it answered with an error.", e.Failures, "engine", e.Addr)
		m.counter("tandem_media_engine_unclosed_total", "Sessions that were over and could not be deleted there.", e.Unclosed, "engine", e.Addr)
	}
}

func (m meter) ng(st ng.Stats) {
	for i, n := range st.Commands {
		m.counter("tandem_ng_requests_total", "NG requests, by command.", n, "command", ng.CommandName(i))
	}
	m.counter("tandem_ng_errors_total", "NG requests answered with an error.", st.Errors)
	m.counter("tandem_ng_limited_total", "Offers refused because there are too many sessions or ports, or the node drains.", st.Limited)
	m.counter("tandem_ng_repeated_total", "Requests that came again and got the first answer again.", st.Repeated)
	m.counter("tandem_ng_forgotten_total", "Times answers had to be forgotten early for want of room.", st.Forgotten)
	m.counter("tandem_ng_malformed_total", "Datagrams that are no NG request.", st.Malformed)
	m.counter("tandem_ng_refused_total", "Datagrams of sources that may not command.", st.Refused)
	m.counter("tandem_ng_ignored_flags_total", "Flags and keys of requests that mean nothing here.", st.Ignored)
	m.counter("tandem_ng_silent_total", "Sessions ended because no media came any more.", st.Silent)
	m.counter("tandem_ng_expired_total", "Sessions ended because nobody answered or they had lasted too long.", st.Expired)
	m.counter("tandem_ng_faults_total", "Datagrams that could not be read or sent.", st.Faults)
	m.counter("tandem_ng_panics_total", "Requests that met a program error.", st.Panics)
	m.counter("tandem_ng_busy_total", "Requests refused because too many that read a file were under way.", st.Busy)
	m.counter("tandem_ng_connections_refused_total", "NG connections refused because there were too many.", st.Full)
	m.counter("tandem_ng_connections_slow_total", "NG connections ended because their answers were not read, or half a request was all that came.", st.Slow)
	m.gauge("tandem_ng_connections", "NG connections over TCP, HTTP and WebSocket.", st.Connections)
	m.gauge("tandem_ng_calls", "Calls of other proxies.", st.Calls)
	m.gauge("tandem_ng_sessions", "Their media sessions.", st.Sessions)
}

func (m meter) turn(st turn.Stats) {
	m.gauge("tandem_turn_allocations", "Relay sockets of phones.", st.Allocations)
	m.gauge("tandem_turn_connections", "Open TCP and TLS connections.", st.Connections)
	m.counter("tandem_turn_allocations_total", "Relay sockets made for phones.", st.Allocated)
	m.counter("tandem_turn_packets_total", "Packets relayed.", st.ToMedia, "to", "media")
	m.counter("tandem_turn_packets_total", "Packets relayed.", st.ToPhones, "to", "phone")
	m.counter("tandem_turn_denied_total", "Requests with a credential that is wrong, expired or of nobody.", st.Denied)
	m.counter("tandem_turn_quota_total", "Relay sockets refused because the user or the node has enough.", st.Quota)
	m.counter("tandem_turn_exhausted_total", "Relay sockets refused because the system had none.", st.Exhausted)
	m.counter("tandem_turn_forbidden_total", "Peers refused because they are not the media engine.", st.Forbidden)
	m.counter("tandem_turn_dropped_total", "Packets dropped.", st.Strayed, "reason", "not_media")
	m.counter("tandem_turn_dropped_total", "Packets dropped.", st.Limited, "reason", "rate")
	m.counter("tandem_turn_refused_connections_total", "Connections beyond the limits.", st.Refused)
	m.counter("tandem_turn_faults_total", "Datagrams that could not be read.", st.Faults)
}

func (m meter) phone(st phone.Stats) {
	m.counter("tandem_phone_accounts_total", "Browser phones that were told their account.", st.Accounts)
	m.counter("tandem_phone_refused_total", "Browser phones that were refused: wrong password, banned, or not encrypted.", st.Refused)
}

func (m meter) cluster(st cluster.Status) {
	leader, ready := 0, 0
	if st.Leader != "" && st.Leader == st.Node {
		leader = 1
	}
	if st.Ready {
		ready = 1
	}
	m.gauge("tandem_cluster_leader", "1 when this node leads.", leader)
	m.gauge("tandem_cluster_ready", "1 when a leader is known and this node is up to date.", ready)
	m.gauge("tandem_cluster_term", "Raft term.", st.Term)
	m.gauge("tandem_cluster_last_index", "Newest entry of this node's log.", st.Last)
	m.gauge("tandem_cluster_commit_index", "Newest entry known to be agreed.", st.Commit)
	m.gauge("tandem_cluster_applied_index", "Newest entry applied.", st.Applied)
	m.gauge("tandem_cluster_log_bytes", "Log since the last snapshot.", st.LogBytes)
	m.gauge("tandem_cluster_log_entries", "Entries since the last snapshot.", st.LogEntries)
	m.gauge("tandem_cluster_file_bytes", "Size of the log's files.", st.FileBytes)
	m.gauge("tandem_cluster_snapshot_bytes", "Size of the newest snapshot.", st.Snapshot.Bytes)
	m.gauge("tandem_cluster_snapshot_pause_seconds", "Longest that changes have waited for a snapshot.", st.Snapshot.Pause.Seconds())
	m.gauge("tandem_cluster_queue_items", "Changes that wait for commit.", st.Queue.Items)
	m.gauge("tandem_cluster_queue_bytes", "Bytes of changes that wait for commit.", st.Queue.Bytes)
	m.gauge("tandem_cluster_queue_limit", "How many changes may wait.", st.Queue.Capacity)
	m.gauge("tandem_cluster_in_flight", "Entries that Raft has not answered.", st.Queue.InFlight)
	c := st.Counters
	m.counter("tandem_cluster_proposed_total", "Changes accepted into the queue.", c.Proposed)
	m.counter("tandem_cluster_refused_total", "Changes not accepted.", c.Refused)
	m.counter("tandem_cluster_committed_total", "Changes agreed on.", c.Committed)
	m.counter("tandem_cluster_failures_total", "Changes accepted and not known to be agreed on.", c.Failed)
	m.counter("tandem_cluster_entries_total", "Log entries written here, with the changes of all nodes.", c.Entries)
	m.counter("tandem_cluster_forwarded_total", "Changes given to another node that leads.", c.Forwarded)
	m.counter("tandem_cluster_resent_total", "Times that changes were sent again, because an entry failed or a leader said no.", c.Resent)
	m.counter("tandem_cluster_twice_total", "Changes that stood in the log again and were skipped.", c.Twice)
	m.counter("tandem_cluster_elections_total", "Elections called here because the leader did not answer.", c.Elections)
	m.counter("tandem_cluster_merged_total", "Changes that shared an entry.", c.Merged)
	m.counter("tandem_cluster_entry_bytes_total", "Bytes of log entries.", c.EntryBytes)
	m.counter("tandem_cluster_applied_total", "Changes applied here.", c.Applied)
	m.counter("tandem_cluster_skipped_total", "Optional changes that this version does not know.", c.Skipped)
	m.counter("tandem_cluster_snapshots_total", "Snapshots written.", c.Snapshots)
	m.counter("tandem_cluster_snapshot_errors_total", "Snapshots that failed.", c.SnapshotErrors)
	unfit, diverged := 0, 0
	if st.Unfit != "" {
		unfit = 1
	}
	if len(st.Comparison.Differs) > 0 {
		diverged = 1
	}
	m.gauge("tandem_cluster_unfit", "1 when this node should not lead: its disk or its state is not well.", unfit)
	m.gauge("tandem_cluster_diverged", "1 when the state of this node is not what most others hold.", diverged)
	m.counter("tandem_cluster_comparisons_total", "States of this node that were compared with the others'.", st.Comparison.Done)
	m.counter("tandem_cluster_comparisons_skipped_total", "Comparisons left out because a snapshot or backup was being written.", st.Comparison.Skipped)
	m.gauge("tandem_cluster_command_version", "Version of commands that all nodes know.", st.Agreed)
	m.gauge("tandem_cluster_command_version_known", "Newest version of commands that this program knows.", st.Speaks)
}

func (m meter) clusterPort(st cluster.Status) {
	m.counter("tandem_cluster_port_accepted_total", "Connections of members, and of newcomers with a good token.", st.Port.Accepted)
	m.counter("tandem_cluster_port_strangers_total", "Connections that knew no secret of the cluster, closed without an answer.", st.Port.Strangers)
	m.counter("tandem_cluster_port_refused_total", "Connections that failed the handshake, and newcomers that were refused.", st.Port.Refused)
	m.counter("tandem_cluster_port_fenced_total", "Connections of nodes that had been removed or replaced.", st.Port.Fenced)
	m.counter("tandem_cluster_port_turned_total", "Connections closed because too many were open.", st.Port.Turned)
	m.counter("tandem_cluster_calls_total", "Requests to other nodes.", st.Calls.Calls)
	m.counter("tandem_cluster_call_errors_total", "Requests to other nodes without a good answer.", st.Calls.CallErrors)
	m.counter("tandem_cluster_messages_sent_total", "Messages to other nodes.", st.Calls.Sent)
	m.counter("tandem_cluster_message_errors_total", "Messages that could not be sent.", st.Calls.SendErrors)
	m.counter("tandem_cluster_answered_total", "Requests of other nodes.", st.Calls.Answered)
	m.counter("tandem_cluster_messages_received_total", "Messages of other nodes.", st.Calls.Received)
	m.counter("tandem_cluster_unknown_total", "Requests and messages of other nodes that this version does not know.", st.Calls.Unknown)
	m.counter("tandem_cluster_panics_total", "Requests of other nodes whose handler failed.", st.Calls.Panics)
	voters, alive, needed := st.Quorum()
	quorum := 0
	if alive >= needed {
		quorum = 1
	}
	m.gauge("tandem_cluster_voters", "Members with a vote.", voters)
	m.gauge("tandem_cluster_quorum", "1 when enough members with a vote answer to agree on changes.", quorum)
	health := map[cluster.Health]int{}
	for _, n := range st.Members {
		health[n.Health]++
	}
	for _, h := range []cluster.Health{cluster.Alive, cluster.Suspect, cluster.Dead, cluster.Unknown} {
		m.gauge("tandem_cluster_members", "Members by what this node hears of them.", health[h], "health", string(h))
	}
}

func (m meter) dialplan(st dialplan.Stats) {
	m.counter("tandem_dialplan_applied_total", "Dialplans put in force.", st.Applied)
	m.counter("tandem_dialplan_refused_total", "Dialplans refused for mistakes.", st.Refused)
	m.counter("tandem_dialplan_conflicts_total", "Dialplans refused because another version was in force.", st.Conflicts)
	m.counter("tandem_dialplan_unchanged_total", "Dialplans that were in force already.", st.Unchanged)
	m.gauge("tandem_dialplan_version", "Version in force.", st.Version)
	m.gauge("tandem_dialplan_versions", "Versions kept.", st.Versions)
	m.gauge("tandem_dialplan_tenants", "Tenants of the dialplan in force.", st.Tenants)
	m.gauge("tandem_dialplan_nodes", "Nodes of the dialplan in force.", st.Nodes)
	m.gauge("tandem_dialplan_warnings", "Warnings of the dialplan in force.", st.Warnings)
}

func (m meter) auth(st auth.Stats) {
	m.gauge("tandem_auth_accounts", "Accounts.", st.Accounts)
	m.gauge("tandem_auth_tenants", "Tenants with accounts.", st.Tenants)
	m.gauge("tandem_auth_tokens", "API tokens.", st.Tokens)
	m.counter("tandem_auth_lookups_total", "Look-ups of digest secrets.", st.Lookups)
	m.counter("tandem_auth_unknown_total", "Look-ups of unknown or disabled names.", st.Unknown)
	m.counter("tandem_auth_applied_total", "Commands applied.", st.Applied)
	m.counter("tandem_auth_refused_total", "Accounts and commands refused.", st.Refused)
	m.counter("tandem_auth_token_checks_total", "API tokens checked.", st.TokenChecks)
	m.counter("tandem_auth_token_refusals_total", "API tokens refused.", st.TokenRefusals)
	m.counter("tandem_auth_snapshots_total", "Snapshots taken.", st.Snapshots)
	m.counter("tandem_auth_restores_total", "Snapshots restored.", st.Restores)
}

func (m meter) events(st events.Stats) {
	m.counter("tandem_events_published_total", "Events.", st.Published)
	m.counter("tandem_events_overwritten_total", "Events that have left the ring.", st.Overwritten)
	m.counter("tandem_events_missed_total", "Events lost by slow readers.", st.Missed)
	m.counter("tandem_cdrs_total", "Call records made.", st.CDRs)
	m.counter("tandem_cdrs_evicted_total", "Calls closed as unfinished because too many were open.", st.Evicted)
	m.counter("tandem_cdrs_expired_total", "Calls closed as unfinished because of their age.", st.Expired)
	m.counter("tandem_cdrs_unmatched_total", "Events of calls that are not open.", st.Unmatched)
	m.counter("tandem_cdrs_dropped_total", "Call records never written.", st.Dropped)
	m.counter("tandem_cdrs_written_total", "Call records written.", st.Written)
	m.counter("tandem_cdrs_write_errors_total", "Failed writes of call records.", st.WriteErrors)
	m.counter("tandem_cdrs_rotations_total", "Files of call records begun.", st.Rotations)
	m.gauge("tandem_cdrs_open_calls", "Calls without a record yet.", st.OpenCalls)
	m.gauge("tandem_cdrs_pending", "Call records that wait for the disk.", st.Pending)
	m.gauge("tandem_cdrs_file_bytes", "Size of the file of call records.", st.FileBytes)
	m.gauge("tandem_events_subscribers", "Readers of the event stream.", st.Subscribers)
}

func (m meter) admin(st Stats) {
	for i := 2; i < len(st.Requests); i++ {
		m.counter("tandem_admin_requests_total", "API requests answered, by kind of status.", st.Requests[i], "status", strconv.Itoa(i)+"xx")
	}
	m.counter("tandem_admin_refused_total", "API requests without a good token or from foreign web pages.", st.Refused)
	m.counter("tandem_admin_turned_away_total", "API connections closed because too many were open.", st.Turned)
	m.counter("tandem_admin_panics_total", "API requests that panicked.", st.Panics)
	m.gauge("tandem_admin_connections", "API connections.", st.Conns)
	m.gauge("tandem_admin_streams", "Event streams.", st.Streams)
}
