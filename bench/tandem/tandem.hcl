# Tandem under bench/run.sh; start.sh fills in the words in capitals. Everything not named here is the default of configs/tandem.hcl:
# traces, events, call records and the replicated log are on, as an operator would have them.
node {
  name     = "bench"
  data_dir = "DATA_DIR"
}
sip {
  udp = ["SIP_ADDRESS"]
  tcp = []
  tls = []
}
media {
  address     = "127.0.0.1"
  ports       = "MEDIA_PORTS"
  single_port = SINGLE_PORT
  tier        = "MEDIA_TIER"
  ng          = ["NG_ADDRESS"]
}
admin { listen = "ADMIN_ADDRESS" }
web {
  http  = []
  https = []
}
turn {
  udp = []
  tcp = []
}
dialplan { files = ["PLAN_FILE"] }
auth { nonce_lifetime = "1h" } # Kamailio's nonce_expire in bench/kamailio is the same
limits {
  requests_per_ip = 1000000 # all 10,000 phones are at one address
}
log { level = "warn" }
