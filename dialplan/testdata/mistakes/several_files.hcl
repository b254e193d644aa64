-- acme.hcl --
dialplan "acme" {
  domains  = ["acme.example"]
  timezone = "Europe/London"
}
user "alice" { extension = "201" }
-- acme-2.hcl --
dialplan "acme" { timezone = "Europe/Paris" }
user "bob" { extension = "201" }
user "alice" {}
-- other.hcl --
dialplan "other" { domains = ["Acme.Example"] }
ring "sales" {
  extension = "200"
  members   = [user.alice]
  otherwise { go = user.alice }
}
-- stray.hcl --
user "carol" {}
