dialplan "acme" {}
user "alice" { extension = "201" }
ring "sales" {
  extension = "200"
  members   = [user.alise, user.zed]
  otherwise { go = ring.sale }
}
ring "support" {
  extension = "210"
  members   = [user.alice]
  otherwise { go = ring.alice }
}
ring "night" {
  extension = "220"
  members   = [usr.alice, people.alice]
  otherwise { go = alice }
}
