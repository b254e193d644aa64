dialplan "acme" {}
user "alice" {
  display = "café"
}
