dialplan "acme" {}
user "alice" { extension = "201" }
user "bob" { extension = "202" }
pickup "none" {}
pickup "calls" {
  extension = "*8"
  allow     = ["reception"]
}
pickup "again" { extension = "*8" }
pickup "clash" { extension = "*" }
feature "night" {
  extension = "*202"
  go        = user.bob
}
