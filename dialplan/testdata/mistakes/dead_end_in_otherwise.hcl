dialplan "acme" {}
user "alice" {}
ring "a" {
  extension = "1"
  members   = [user.alice]
  otherwise {}
}
