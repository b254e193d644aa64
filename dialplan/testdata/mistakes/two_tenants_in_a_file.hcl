dialplan "acme" {}
dialplan "other" {}
user "alice" { extension = "201" }
