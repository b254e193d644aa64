dialplan "acme" {}
user "alice" {
  extension "201"
}
