dialplan "acme" {}
ring "sales" {
  members = [user.alice, user.bob
}
