sip = { udp = [] }
udp = ["0.0.0.0:5060"]
node "n1" {}
node {}
media {
  ports { }
}
