sip {
  udp = ["0.0.0.0", "0.0.0.0:70000", ":5060", "localhost:5060", "2001:db8::1:5060x", "nonsense", "[::1]:sip"]
  advertise = "203.0.113.300"
}
media {
  address   = ["0.0.0.0:20000"]
  advertise = "0.0.0.0"
}
web {
  origins = ["phone.example", "https://phone.example/ws"]
}
certs {
  hosts = ["https://acme.example"]
}
