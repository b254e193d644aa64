package configs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/internal/hcltext"
)

// section is one block of the file; its keys point into the Config being filled.
type section struct {
	name string
	keys []key
}

// key is one setting: what kind of value it takes, what it holds now, and how a new value is checked and stored.
type key struct {
	name string
	kind kind
	live bool // a running node can exchange it, see live.go
	get  func() value
	set  func(value) []flaw
}

// kind is the type a key asks for.
type kind uint8

const (
	kindText kind = iota + 1
	kindNumber
	kindFlag
	kindList       // list of texts
	kindTextOrList // one text, or a list of them
)

func (k kind) String() string {
	switch k {
	case kindText:
		return "a text in quotes"
	case kindNumber:
		return "a whole number"
	case kindFlag:
		return "true or false"
	case kindList:
		return `a list of texts, like ["a", "b"]`
	case kindTextOrList:
		return `a text in quotes or a list of them`
	}
	return "nothing"
}

// value is a plain value out of the file or the environment; the field that counts follows from the key's kind.
type value struct {
	text   string
	number int64
	flag   bool
	list   []string
}

func (v value) equal(w value) bool {
	return v.text == w.text && v.number == w.number && v.flag == w.flag && slices.Equal(v.list, w.list)
}

// flaw is what is wrong with a value; item is the index in a list, or -1 for the value as a whole.
type flaw struct {
	item    int
	summary string
	detail  string
}

// rule checks one text and returns what is wrong with it, "" when nothing is, and what to write instead.
type rule func(string) (wrong, instead string)

// schema is the whole language: every section and key, bound to the fields of c.
func schema(c *Config) []section {
	return []section{
		{"node", []key{
			text("name", &c.Node.Name, nodeName),
			text("data_dir", &c.Node.DataDir, notEmpty),
			list("roles", &c.Node.Roles, oneOf("signaling", "media", "edge")),
			text("region", &c.Node.Region),
			duration("drain_timeout", &c.Node.DrainTimeout, 0, 24*time.Hour),
		}},
		{"sip", []key{
			list("udp", &c.SIP.UDP, listener(5060)),
			list("tcp", &c.SIP.TCP, listener(5060)),
			list("tls", &c.SIP.TLS, listener(5061)),
			list("ws", &c.SIP.WS, listener(8080)),
			list("wss", &c.SIP.WSS, listener(8443)),
			text("advertise", &c.SIP.Advertise, optional(hostOrAddress)),
			text("server_name", &c.SIP.ServerName, headerText),
			number("shards", &c.SIP.Shards, 0, 256),
			live(duration("read_timeout", &c.SIP.ReadTimeout, 100*time.Millisecond, time.Hour)),
			live(duration("write_timeout", &c.SIP.WriteTimeout, 100*time.Millisecond, time.Hour)),
			live(duration("idle_timeout", &c.SIP.IdleTimeout, time.Second, 24*time.Hour)),
			live(duration("timer_c", &c.SIP.TimerC, 3*time.Minute+time.Second, time.Hour)),
			live(yesNo("follow_redirects", &c.SIP.FollowRedirects)),
		}},
		{"media", []key{
			textOrList("address", &c.Media.Address, address),
			textOrList("advertise", &c.Media.Advertise, publicAddress),
			ports("ports", &c.Media.Ports),
			number("shards", &c.Media.Shards, 0, 256),
			number("ice_port", &c.Media.ICEPort, 0, 65535),
			number("single_port", &c.Media.SinglePort, 0, 65535),
			text("tier", &c.Media.Tier, oneOf("auto", "steered", "sockets")),
			list("interfaces", &c.Media.Interfaces),
			text("srtp", &c.Media.SRTP, oneOf("mirror", "off", "passthrough", "preferred", "required")),
			list("codecs", &c.Media.Codecs, mainCodec),
			list("codecs_off", &c.Media.CodecsOff, anyCodec),
			text("transcode", &c.Media.Transcode, oneOf("always", "auto", "off")),
			yesNo("convert_keys", &c.Media.Keys),
			yesNo("packet_times", &c.Media.Lengths),
			number("transcoded_calls", &c.Media.Transcoded, 0, 100_000),
			text("opus_library", &c.Media.Opus),
			text("prompts", &c.Media.Prompts),
			number("sound_bytes", &c.Media.SoundBytes, 1<<20, 1<<40),
			alarm("mos_alarm", &c.Media.QualityAlarm),
			list("ng", &c.Media.NG, ngListener),
			list("ng_allow", &c.Media.NGAllow, network),
			list("engines", &c.Media.Engines, listener(2223)),
		}},
		{"recording", []key{
			text("dir", &c.Recording.Dir),
			text("format", &c.Recording.Format, oneOf("wav", "ogg")),
			yesNo("video", &c.Recording.Video),
			number("max_hours", &c.Recording.MaxHours, 1, 24),
			number("max_bytes", &c.Recording.MaxBytes, 1<<20, 1<<50),
			number("at_once", &c.Recording.AtOnce, 1, 100_000),
		}},
		{"voicemail", []key{
			text("dir", &c.Voicemail.Dir),
			number("max_bytes", &c.Voicemail.MaxBytes, 1<<20, 1<<50),
			number("mailbox_bytes", &c.Voicemail.MailboxBytes, 1<<20, 1<<40),
		}},
		{"cluster", []key{
			text("listen", &c.Cluster.Listen, optional(listener(7000))),
			text("gossip", &c.Cluster.Gossip, optional(listener(7946))),
			text("advertise", &c.Cluster.Advertise, optional(listener(7000))),
			yesNo("bootstrap", &c.Cluster.Bootstrap),
			list("join", &c.Cluster.Join, listener(7000)),
			text("token", &c.Cluster.Token),
			duration("copy_wait", &c.Cluster.CopyWait, time.Millisecond, 400*time.Millisecond),
			duration("take_over_after", &c.Cluster.TakeOverAfter, 300*time.Millisecond, time.Minute),
			list("virtual_addresses", &c.Cluster.VirtualAddresses, virtualAddress),
		}},
		{"admin", []key{
			text("listen", &c.Admin.Listen, optional(listener(9090))),
		}},
		{"web", []key{
			list("http", &c.Web.HTTP, listener(8080)),
			list("https", &c.Web.HTTPS, listener(8443)),
			list("origins", &c.Web.Origins, origin),
		}},
		{"turn", []key{
			list("udp", &c.TURN.UDP, listener(3478)),
			list("tcp", &c.TURN.TCP, listener(3478)),
			list("tls", &c.TURN.TLS, listener(5349)),
			number("per_user", &c.TURN.PerUser, 1, 10_000),
			duration("lifetime", &c.TURN.Lifetime, time.Minute, 7*24*time.Hour),
		}},
		{"dialplan", []key{
			list("files", &c.Dialplan.Files, notEmpty),
		}},
		{"certs", []key{
			text("dir", &c.Certs.Dir),
			live(text("cert_file", &c.Certs.CertFile)),
			live(text("key_file", &c.Certs.KeyFile)),
			list("hosts", &c.Certs.Hosts, hostOrAddress),
		}},
		{"auth", []key{
			text("key_file", &c.Auth.KeyFile),
			live(duration("nonce_lifetime", &c.Auth.NonceLifetime, 10*time.Second, 24*time.Hour)),
		}},
		{"events", []key{
			text("dir", &c.Events.Dir),
			number("ring", &c.Events.Ring, 16, 1<<24),
		}},
		{"limits", limitKeys(&c.Limits)},
		{"log", []key{
			live(text("level", &c.Log.Level, oneOf("debug", "info", "warn", "error"))),
			text("format", &c.Log.Format, oneOf("text", "json")),
		}},
	}
}

func limitKeys(l *Limits) []key {
	return []key{
		number("message_bytes", &l.MessageBytes, 1500, 65535),
		live(number("bindings_per_aor", &l.BindingsPerAOR, 1, 100)),
		live(duration("register_min", &l.RegisterMin, time.Second, time.Hour)),
		live(duration("register_default", &l.RegisterDefault, time.Second, 30*24*time.Hour)),
		live(duration("register_max", &l.RegisterMax, time.Second, 30*24*time.Hour)),
		number("shard_queue", &l.ShardQueue, 16, 1<<20),
		live(number("transactions", &l.Transactions, 16, 100_000_000)),
		live(number("calls", &l.Calls, 1, 10_000_000)),
		live(number("calls_per_user", &l.CallsPerUser, 1, 10_000_000)),
		live(number("branches_per_call", &l.BranchesPerCall, 1, 1000)),
		number("conferences", &l.Conferences, 1, 100_000),
		number("conference_members", &l.ConferenceMembers, 2, 10_000),
		live(number("tcp_connections", &l.TCPConnections, 1, 10_000_000)),
		live(number("tcp_connections_per_ip", &l.TCPConnectionsPerIP, 1, 10_000_000)),
		live(number("requests_per_ip", &l.RequestsPerIP, 1, 10_000_000)),
		live(failures("auth_failures", &l.AuthFailures)),
		number("sources", &l.Sources, 16, 100_000_000),
		live(duration("media_silence", &l.MediaSilence, time.Second, 24*time.Hour)),
		live(duration("call_duration", &l.CallDuration, time.Minute, 30*24*time.Hour)),
		live(orZero("memory_bytes", &l.MemoryBytes, 64<<20, 1<<50)),
		number("trace_bytes", &l.TraceBytes, 0, 4<<30),
	}
}

func text(name string, field *string, rules ...rule) key {
	return key{
		name, kindText, false,
		func() value { return value{text: *field} },
		func(v value) []flaw {
			if flaws := broken(-1, v.text, rules); flaws != nil {
				return flaws
			}
			*field = v.text
			return nil
		},
	}
}

func list(name string, field *[]string, rules ...rule) key {
	return key{
		name, kindList, false,
		func() value { return value{list: *field} },
		func(v value) (flaws []flaw) {
			for i, item := range v.list {
				flaws = append(flaws, broken(i, item, rules)...)
			}
			if flaws == nil {
				*field = v.list
			}
			return flaws
		},
	}
}

func textOrList(name string, field *[]string, rules ...rule) key {
	k := list(name, field, rules...)
	k.kind = kindTextOrList
	return k
}

func number(name string, field *int, low, high int64) key {
	return key{
		name, kindNumber, false,
		func() value { return value{number: int64(*field)} },
		func(v value) []flaw {
			if v.number < low || v.number > high {
				return whole(fmt.Sprintf("%d is out of range", v.number), fmt.Sprintf("%s takes %d to %d", name, low, high))
			}
			*field = int(v.number)
			return nil
		},
	}
}

// orZero is number for a key whose 0 means something of its own.
func orZero(name string, field *int, low, high int64) key {
	k := number(name, field, low, high)
	set := k.set
	k.set = func(v value) []flaw {
		if v.number == 0 {
			*field = 0
			return nil
		}
		if flaws := set(v); flaws != nil {
			return whole(flaws[0].summary, flaws[0].detail+", or 0")
		}
		return nil
	}
	return k
}

func yesNo(name string, field *bool) key {
	return key{
		name, kindFlag, false,
		func() value { return value{flag: *field} },
		func(v value) []flaw { *field = v.flag; return nil },
	}
}

func duration(name string, field *time.Duration, low, high time.Duration) key {
	return key{
		name, kindText, false,
		func() value { return value{text: hcltext.Duration(*field)} },
		func(v value) []flaw {
			d, err := time.ParseDuration(v.text)
			if err != nil {
				return whole(fmt.Sprintf("%q is not a duration", v.text), durationWords)
			}
			if d < low || d > high {
				return whole(fmt.Sprintf("%q is out of range", v.text), fmt.Sprintf("%s takes %s to %s", name, hcltext.Duration(low), hcltext.Duration(high)))
			}
			*field = d
			return nil
		},
	}
}

const durationWords = `write a number and a unit (ms, s, m, h), like "30s" or "5m"`

func ports(name string, field *PortRange) key {
	return key{
		name, kindText, false,
		func() value { return value{text: fmt.Sprintf("%d-%d", field.Min, field.Max)} },
		func(v value) []flaw {
			r, wrong, instead := parsePorts(v.text)
			if wrong != "" {
				return whole(wrong, instead)
			}
			*field = r
			return nil
		},
	}
}

func failures(name string, field *FailureLimit) key {
	return key{
		name, kindText, false,
		func() value { return value{text: field.String()} },
		func(v value) []flaw {
			f, ok := parseFailures(v.text)
			if !ok {
				return whole(fmt.Sprintf("%q is not a limit of failures", v.text), `write count, window and ban, like "10/min ban 5m"`)
			}
			*field = f
			return nil
		},
	}
}

func alarm(name string, field *QualityAlarm) key {
	return key{
		name, kindText, false,
		func() value { return value{text: field.String()} },
		func(v value) []flaw {
			a, ok := parseAlarm(v.text)
			if !ok {
				return whole(fmt.Sprintf("%q is not a limit of quality", v.text), `write an opinion from 1 to 4.4 and a time, like "3.1 for 5s", or "off"`)
			}
			*field = a
			return nil
		},
	}
}

func whole(summary, detail string) []flaw { return []flaw{{-1, summary, detail}} }

func broken(item int, text string, rules []rule) []flaw {
	for _, r := range rules {
		if wrong, instead := r(text); wrong != "" {
			return []flaw{{item, wrong, instead}}
		}
	}
	return nil
}

// String writes the limit as the file does.
// String writes an alarm as parseAlarm reads it.
func (a QualityAlarm) String() string {
	if a.MOS == 0 {
		return "off"
	}
	return strconv.FormatFloat(a.MOS, 'f', -1, 64) + " for " + a.After.String()
}

func parseAlarm(text string) (a QualityAlarm, ok bool) {
	if text == "off" {
		return a, true
	}
	mos, after, _ := strings.Cut(text, " for ")
	var err error
	if a.MOS, err = strconv.ParseFloat(mos, 64); err != nil || !(a.MOS >= 1 && a.MOS <= 4.4) {
		return a, false
	}
	a.After, err = time.ParseDuration(after)
	return a, err == nil && a.After >= time.Second && a.After <= time.Hour
}

func (f FailureLimit) String() string {
	window := hcltext.Duration(f.Window)
	switch f.Window {
	case time.Second:
		window = "s"
	case time.Minute:
		window = "min"
	case time.Hour:
		window = "h"
	}
	return fmt.Sprintf("%d/%s ban %s", f.Count, window, hcltext.Duration(f.Ban))
}

func parseFailures(text string) (f FailureLimit, ok bool) {
	rate, ban, found := strings.Cut(text, " ban ")
	count, window, slash := strings.Cut(strings.TrimSpace(rate), "/")
	if !found || !slash {
		return f, false
	}
	switch window = strings.TrimSpace(window); window {
	case "s", "sec", "second":
		f.Window = time.Second
	case "m", "min", "minute":
		f.Window = time.Minute
	case "h", "hour":
		f.Window = time.Hour
	default:
		f.Window, _ = time.ParseDuration(window)
	}
	f.Count, _ = strconv.Atoi(strings.TrimSpace(count))
	f.Ban, _ = time.ParseDuration(strings.TrimSpace(ban))
	day := 24 * time.Hour
	ok = f.Count >= 1 && f.Count <= 1_000_000 && f.Window >= time.Second && f.Window <= day && f.Ban >= time.Second && f.Ban <= 30*day
	return f, ok
}
