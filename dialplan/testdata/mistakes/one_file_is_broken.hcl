-- acme.hcl --
dialplan "acme" {}
ring "sales" {
  extension = "200"
  members   = [user.alice]
  strategy  = "some"
}
-- users.hcl --
dialplan "acme" {}
user "alice" {
