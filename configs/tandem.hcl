# tandem.hcl: how one Tandem node is set up.
#
# Every key stands here with its default, so this file changes nothing. Keep what you want to change and drop the rest.
# `tandem check --config tandem.hcl` finds every mistake with file, line and column; `tandem serve --config tandem.hcl`
# runs the node. The environment variable TANDEM_SECTION_KEY overrides a key: TANDEM_SIP_ADVERTISE=203.0.113.10; lists
# take commas: TANDEM_SIP_UDP=0.0.0.0:5060,[::]:5060. Durations carry their unit: "500ms", "30s", "5m", "1h".
#
# SIGHUP reads the file again. Keys whose sentence begins with * are exchanged while the node runs, for what begins from then on;
# the others take effect with the next start, and the log names those that have changed. A file with a mistake changes nothing.

node {
  name     = "n1"                   # who this node is; unique in the cluster
  data_dir = "/var/lib/tandem"      # everything that must survive a restart lies here
  roles    = ["signaling", "media"] # what this node does; without "media" session descriptions pass as they are and no media flows through it, without "signaling" no SIP listener opens
  region   = ""                     # free word for where it stands, like "eu-1"; shown by `tandem status`, /readyz and metrics

  drain_timeout = "10m" # a node that is to stop waits so long for calls that no other node can go on with, and ends them then
}

sip {
  udp = ["0.0.0.0:5060"] # listeners, IP:port each; all IPv6 addresses as well: ["0.0.0.0:5060", "[::]:5060"]
  tcp = ["0.0.0.0:5060"]
  tls = ["0.0.0.0:5061"] # with the key of the block `certs`
  ws  = []               # SIP over WebSocket on ports of its own; the block `web` serves it at /ws anyway
  wss = []

  advertise        = ""       # address or name the world sees when it differs, behind NAT for example; "" = as it is
  server_name      = "Tandem" # Server header of answers; "" = none
  shards           = 0        # signalling shards; 0 = by the number of processors
  read_timeout     = "10s"    # * half a message on a stream may take this long
  write_timeout    = "10s"    # * a peer that does not read is cut off after this long
  idle_timeout     = "10m"    # * a silent stream without registration or call is closed after this long
  timer_c          = "3m5s"   # * a phone may ring this long; more than 3 minutes (RFC 3261 section 16.6)
  follow_redirects = true     # * a 3xx answer that points to a domain of ours is followed
}

media {
  address     = "0.0.0.0"     # where RTP is received; with IPv6: ["0.0.0.0", "::"]
  advertise   = []            # address in SDP when it differs: "203.0.113.10"; empty = the one the phone's signalling came to
  ports       = "20000-29999" # first and last UDP port; even ones carry RTP, odd ones RTCP; two pairs for each call with audio
  shards      = 0             # media shards; 0 = by the number of processors
  ice_port    = 0             # UDP port for the media of all browsers, counted up by shard; 0 = one of ports for each shard; see docs/media.md
  single_port = 0             # UDP port for RTP and RTCP of all phones, where a firewall or Kubernetes opens one only; who cannot be told from others there gets some of ports. Needs one shard; 0 = none; docs/media.md
  tier        = "auto"        # "auto" has BPF programs forward plain media in the kernel and steer the rest past its ports' sockets where rights (CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW) and kernel allow; "steered" only steers; "sockets" does neither. docs/media.md
  interfaces  = []            # network interfaces whose media the kernel may forward; empty = all that have an address of this block
  srtp        = "mirror"      # SRTP offered to a phone: "mirror" = as the other phone offered it, "off", "preferred" = if it can, "required" = else no call, "passthrough" = the phones' own keys
  codecs      = []            # codecs a phone is offered, the best first: ["opus", "G722", "PCMA", "H264"]; others are taken off; audio or video of which none is named stays as it comes
  codecs_off  = []            # codecs that nobody is offered, like "G729" or "telephone-event/48000"
  transcode   = "auto"        # "auto": phones without a common codec are transcoded between G.711, G.722 and Opus; "always": also where a phone that offers G.711 calls one without; "off": their calls fail
  convert_keys = false        # true: a phone that sends its keys as telephone-event reaches one that hears tones only, and the other way round; such calls count as transcoded
  packet_times = false        # true: where two phones ask for packets of different length (a=ptime) each gets what it asks for; such calls count as transcoded
  transcoded_calls = 0        # at most so many at once, others get 488; 0 = 200 a processor
  opus_library = ""           # path of libopus, without which Opus is not transcoded; "" = the system's, "none" = do without
  prompts     = ""            # directory of WAV files that dialplans play: "acme/welcome" is acme/welcome.wav in it; "" = <data_dir>/prompts
  sound_bytes = 67108864      # memory for the sounds that are played, 16,000 bytes a second; who plays one shares it
  mos_alarm   = "3.1 for 5s"  # a side that sounds worse than this (MOS, 1 to 4.4) for so long is an event; "off" = never
  ng          = []            # listeners of rtpengine's NG protocol, media engine for Kamailio and OpenSIPS: ["127.0.0.1:2223", "tcp:127.0.0.1:2223", "http:127.0.0.1:2225"]; see docs/media-ng.md
  ng_allow    = []            # addresses and networks of the proxies that may command through ng, like "10.0.0.5"; loopback always may, nobody else unless named
  engines     = []            # media engines elsewhere that relay the calls of this node, at their NG listeners: ["10.0.0.7:2223"]; empty = the own one; see docs/media-ng.md
}

recording {
  dir       = ""          # stereo files of recorded calls go here, the caller left; "" = <data_dir>/recordings
  format    = "wav"       # "wav", or "ogg" for Ogg/Opus at a sixth of the size, which needs the system's libopus; without it WAV is written, and the log says so
  video     = false       # true: a call with video becomes a WebM (VP8, VP9) or Matroska (H.264) file with the pictures of both sides instead; see docs/media.md
  max_hours = 4           # longest recording; then it ends and the call goes on
  max_bytes = 53687091200 # room for all files in dir (an hour takes 115 MB as WAV, 20 MB as Ogg, twice that in G.722 or Opus); beyond it recordings end and none begins
  at_once   = 500         # recordings at the same time; further calls are not recorded, which is said
}

voicemail {
  dir           = ""          # messages that callers have left, in the format of recordings, each with its words beside it; "" = <data_dir>/voicemail
  max_bytes     = 21474836480 # room for all messages on this node (a minute takes 1 MB as WAV, 160 kB as Ogg); beyond it no mailbox takes any, and calls go on as the dialplan says
  mailbox_bytes = 209715200   # room of one mailbox, besides max_messages of the dialplan
}

cluster {
  listen            = ""   # IP:port for the other nodes, usually port 7000; "" = this node is alone
  advertise         = ""   # IP:port at which the others reach it when that differs; "" = listen
  gossip            = ""   # IP:port of the gossip protocol, usually port 7946; "" = this node is alone
  bootstrap         = true # an empty data directory begins a cluster of its own, unless join or token are set
  join              = []   # members that an empty data directory joins, IP:port each; empty = those that the token names
  token             = ""   # proves that it may: from `tandem cluster token`, used once; rather set TANDEM_CLUSTER_TOKEN
  copy_wait         = "50ms" # longest wait of a caller, once his call is answered, until two other nodes could go on with it; at most 400ms
  take_over_after   = "1s" # silence after which another node counts as dead, and a survivor goes on with its calls; one whose process has ended is noticed sooner
  virtual_addresses = []   # addresses that move to a survivor, like "203.0.113.10/24@eth0"
}

admin {
  listen = "127.0.0.1:9090" # API, metrics, health, profiles; off loopback a token is asked for; "" = only <data_dir>/admin.sock
}

web {
  http    = ["0.0.0.0:8080"] # public web side with SIP over WebSocket at /ws
  https   = ["0.0.0.0:8443"] # the same with TLS
  origins = []               # web sites whose pages may open the WebSocket, like "https://phone.example"; empty = all
}

turn {
  udp      = ["0.0.0.0:3478"] # TURN and STUN for phones whose network passes little UDP; browsers get the address and a password by themselves
  tcp      = ["0.0.0.0:3478"]
  tls      = []               # passes most firewalls on port 443: ["203.0.113.11:443"]; port 5349 is the usual one
  per_user = 20               # relay sockets of one user at once; they need no opening in a firewall, for only the media engine of this node is reached through them
  lifetime = "12h"            # how long a password is good
}

dialplan {
  files = ["/etc/tandem/dialplan.d"] # plan files, or directories of *.dialplan.hcl; applied once, when the cluster has no plan
}

certs {
  dir       = "" # where a self-made certificate is kept; "" = <data_dir>/certs
  cert_file = "" # * PEM chain of your own certificate; together with key_file
  key_file  = "" # * its PEM key
  hosts     = [] # names and addresses in the self-made certificate; empty = host name and local addresses
}

auth {
  key_file       = ""   # key that seals the stored secrets, made when absent; "" = <data_dir>/auth.key
  nonce_lifetime = "5m" # * a digest challenge is good this long; a later answer is asked again (stale)
}

events {
  dir  = ""   # call records (cdr.jsonl) go here; "" = <data_dir>/events
  ring = 8192 # events kept in memory for late readers
}

limits {
  message_bytes          = 65535           # longest SIP message; longer ones get 513
  bindings_per_aor       = 10              # * phones of one user; more get 403
  register_min           = "1m"            # * shorter registrations get 423
  register_default       = "1h"            # * given to phones that name no time
  register_max           = "1h"            # * longer registrations are shortened to this
  shard_queue            = 4096            # messages waiting in one signalling shard; from three quarters on new calls and registrations get 503, at twice the number all are dropped
  transactions           = 200000          # * SIP transactions at once; beyond it new requests get 503
  calls                  = 20000           # * calls at once; beyond it new ones get 503
  calls_per_user         = 50              # * calls of one user at once; beyond it new ones get 486
  branches_per_call      = 50              # * phones that one call rings at once
  conferences            = 200             # conferences at once; who would begin another one gets 503
  conference_members     = 100             # members of one conference, also of one that allows more; further ones get 486
  tcp_connections        = 10000           # * streams at once (TCP, TLS, WebSocket); further ones are closed
  tcp_connections_per_ip = 2000            # * streams at once from one address
  requests_per_ip        = 20000           # * requests a second from one address; beyond it they are dropped
  auth_failures          = "10/min ban 5m" # * so many failed authentications of one source, and it is not listened to for a while
  sources                = 65536           # source addresses that the guard remembers; the oldest is forgotten
  media_silence          = "1m"            # * an answered call without any packet for this long is ended
  call_duration          = "12h"           # * no call lives longer
  memory_bytes           = 0               # * memory at which the collector works harder; 0 = three quarters of what the machine or the container has
  trace_bytes            = 33554432        # memory for the trace of recent messages; 0 keeps none
}

log {
  level  = "info" # * debug, info, warn, error
  format = "text" # text, json
}
