dialplan "acme gmbh" {
  domains  = ["sip:acme.example", "10.0.0.300"]
  timezone = "Europe/Lodnon"
  country  = "+44"
  format   = 2
}
user "alice smith" {}
user "bob" { extension = "20 1" }
user {}
user "a" "b" {}
