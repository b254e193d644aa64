node {
  nmae = "n1"
}
spi {
  udp = ["0.0.0.0:5060"]
}
media {
  udp = ["0.0.0.0:5060"]
  prots = "20000-29999"
}
frobnicate {}
sip {
  zzz = 1
}
