dialplan "acme" {}
user "alice" {
  extension = "201"
}
ring "sales" {
  extension = "200"
  members   = [user.alice]
  otherwise { go = queue.sales }
}
ring "far" {
  extension = "220"
  members   = [user.alice]
  otherwise { go = cheapest(user.alice) }
}
