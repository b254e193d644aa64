dialplan "acme" {}
user "alice" { extension = "201" }
ring "a" {
  extension = "1"
  members   = [user.alice]
  otherwise { go = ring.b }
}
ring "b" {
  members = [user.alice]
  otherwise { go = ring.c }
}
ring "c" {
  members = [user.alice]
  otherwise { go = ring.b }
}
