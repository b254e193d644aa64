node {
  roles = ["signaling", "signaling"]
}
sip {
  udp = ["127.0.0.1:5060", "127.0.0.1:5060", "127.0.0.1:21000"]
  tcp = ["0.0.0.0:5060"]
  tls = ["127.0.0.1:5060"]
  wss = ["0.0.0.0:8443"]
}
admin {
  listen = "127.0.0.1:8080"
}
media {
  address = ["0.0.0.0", "127.0.0.1"]
  advertise = "2001:db8::1"
}
certs {
  cert_file = "/etc/tandem/cert.pem"
}
limits {
  register_min = "30m"
  register_max = "10m"
  tcp_connections_per_ip = 100000
}
