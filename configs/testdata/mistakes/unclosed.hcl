# the block below lacks its bracket
sip {
  udp = ["0.0.0.0:5060"]
