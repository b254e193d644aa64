dialplan "acme" {}
music "a" {
  extension = "*98"
  play      = "tone:bussy"
}
music "b" {
  extension = "*99"
  play      = "acme/welcome"
  timeout   = "0s"
}
