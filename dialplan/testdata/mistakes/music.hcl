dialplan "acme" {}
music "a" {
  extension = "*98"
  play      = "tone:bussy"
}
music "b" {
  extension = "*99"
  play      = "acme/wel come"
  timeout   = "0s"
}
music "c" {
  extension = "*97"
  play      = "/srv/../etc/passwd.wav"
}
music "d" {
  extension = "*96"
  play      = "/srv/sounds/closed.mp3"
}
