dialplan "acme" {}
user "alice" {
  extension = "${prefix}201"
}
