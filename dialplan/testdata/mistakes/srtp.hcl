dialplan "acme" {
  srtp = "always"
}
user "alice" { srtp = "requird" }
user "bob" {
  record = true
  srtp   = "passthrough"
}
